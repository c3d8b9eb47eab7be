"""zoomexp.api: runs from Python are those of the command line."""

import json

import pytest
import torch

from zoomexp import api
from zoomexp.errors import InputError

SMOKE = ("trainer=smoke", "dataset=cluttered_digits", "dataset.train_images=40", "dataset.test_images=12",
         "logger=none")  # fmt: skip


def test_a_run_is_recorded_found_again_and_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    run = api.train(*SMOKE, "attention=loupe")
    facts = json.loads((run.folder / "metrics.json").read_text())
    assert facts["status"] == "finished" and run.folder.is_relative_to(tmp_path / "outputs/runs/cluttered_digits")
    assert run.metrics == facts["metrics"] and run.cost == facts["cost"]
    written = (run.folder / "metrics.json").stat().st_mtime_ns
    assert api.train(*SMOKE, "attention=loupe").folder == run.folder
    assert (run.folder / "metrics.json").stat().st_mtime_ns == written
    said, test = api.predictions_of(run.folder), api.data_of(run.folder).part("test")
    tested = said["index"]
    assert (said["label"] == test.labels[tested]).all()
    assert said["acc1"].mean() * 100 == pytest.approx(run.metrics["test/acc1"], abs=1e-3)
    network = api.load(run.folder, device="cpu").network
    assert network(torch.zeros(1, 1, 48, 48)).shape == (1, 10) and list(api.attention_maps(network)) == ["layer2"]


@pytest.mark.parametrize(
    ("override", "message"), [("attention=cbm", "cbm"), ("attention.reduction=x", "reduction"), ("seed=0,1", "seed")]
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, override, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(InputError, match=message) as caught:
        api.train(*SMOKE, "attention=cbam", override)
    assert "\n" not in str(caught.value) and not (tmp_path / "outputs").exists()


def test_modules_and_configs_of_ones_own(own_modules, monkeypatch):
    monkeypatch.chdir(own_modules)
    monkeypatch.setenv("PYTHONPATH", "")
    (own_modules / "mine.py").write_text("from zoomexp.attention.cbam import CBAM\n\n\nclass Mine(CBAM):\n    pass\n")
    (own_modules / "settings/attention").mkdir(parents=True)
    (own_modules / "settings/attention/mine.yaml").write_text("_target_: mine.Mine\n_partial_: true\n")
    run = api.train(*SMOKE, "attention=mine", config_dir="settings")
    assert run.folder.parent.name == "resnet20-mine-default"
