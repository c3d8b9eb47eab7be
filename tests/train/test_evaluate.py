"""A finished run tested again: on its own data, with mirrored images, at another size, on another set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import zoomexp
from tests.train.conftest import Ended, run_script
from zoomexp.tasks.classification import mean_softmax

BIRDS = ("dataset=image_folder", "dataset.image_size=16", "dataset.batch_size=4", "attention=loupe", "logger=none",
         "trainer.max_epochs=1", "dataset.crop_pct=0.75")  # fmt: skip


def evaluate(monkeypatch, capfd, *words: str) -> Ended:
    return run_script("evaluate", words, monkeypatch, capfd)


@pytest.fixture
def run(train, once, images_of, folders) -> Path:
    def do(folder: Path) -> None:
        images_of(folder / "images", ("gull", "tern", "wren"))
        assert train(*BIRDS, f"data_dir={folder}", f"output_dir={folder / 'out'}", base=()).code == 0

    once("birds", do)
    return folders()[0]


def test_the_same_test_and_one_with_mirrored_images(run, tmp_path, monkeypatch, capfd, folders):
    for words in ((), ("task.tta=hflip",)):
        code, _, err = evaluate(
            monkeypatch, capfd, f"run={run}", f"output_dir={tmp_path / 'out'}", "logger=none", *words
        )
        assert code == 0, err
    again, mirrored = (next(f for f in folders() if "trained" in str(f) and told(f)["task"]["tta"] == tta)
                       for tta in ("none", "hflip"))  # fmt: skip
    before = json.loads((run / "metrics.json").read_text())["metrics"]
    after = json.loads((again / "metrics.json").read_text())["metrics"]
    names = [
        name for name in before if name.startswith("test/") and name != "test/loss"
    ]  # another loss: see the script
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    predictor = zoomexp.load(run, device="cpu")
    files = sorted((tmp_path / "images" / "test").glob("*/*.png"))
    images = torch.stack([predictor.seeing.file(file) for file in files])
    with torch.no_grad():
        both = (predictor.network(images).softmax(1) + predictor.network(images.flip(-1)).softmax(1)) / 2
    with np.load(mirrored / "predictions.npz") as stored:
        assert stored["top1"].tolist() == both.argmax(1).tolist()


def test_attacks_on_a_finished_run(run, tmp_path, monkeypatch, capfd, folders):
    """Its own examples as those of another: what they flip, and what the first images' paired tests read."""
    pytest.importorskip("captum", reason="needs captum")
    pytest.importorskip("pyautoattack", reason="needs pyautoattack")
    small = ("images=3", "eps=[1.0,16.0]", "steps=4", "long_steps=0", "queries=5", f"transfer={run}")
    words = ["callbacks=[default,robustness]", *(f"callbacks.robustness.{one}" for one in small)]
    code, _, err = evaluate(monkeypatch, capfd, f"run={run}", f"output_dir={tmp_path / 'out'}", "logger=none", *words)
    assert code == 0, err
    (again,) = (folder for folder in folders() if "trained" in str(folder))
    found = json.loads((again / "metrics.json").read_text())["metrics"]
    assert {f"test/robust/{name}" for name in ("clean", "pgd4@16", "fgsm@1", "missed/frozen@1", "transfer@1")} <= set(
        found
    )
    assert found["test/robust/transfer@1"] == found["test/robust/pgd4@1"]
    with np.load(again / "predictions.npz") as stored:
        assert np.isfinite(stored["robust/pgd4@1"]).tolist() == [True] * 3 + [False] * (len(stored["index"]) - 3)
        attacked = stored["robust/pgd4@1"][:3].astype(float)
    assert found["test/robust/pgd4@1"] == pytest.approx(100 * attacked.mean(), rel=1e-5)


def told(folder: Path) -> dict:
    import yaml

    return yaml.safe_load((folder / "config.yaml").read_text())


def test_the_mean_of_softmaxes():
    one, two = torch.randn(2, 3, 5)
    torch.testing.assert_close(mean_softmax(one, two).softmax(1), (one.softmax(1) + two.softmax(1)) / 2)
    torch.testing.assert_close(mean_softmax(one, two).exp().sum(1), torch.ones(3))


def test_mistakes(run, monkeypatch, capfd, tmp_path):
    for words, message in (
        ((), None),
        (("dataset=digits",), "run: must be given"),
        (("run=nowhere",), "run=nowhere"),
        ((f"run={run}", "task.tta=rotate"), "task.tta='rotate' must be one of none, hflip"),
    ):
        code, out, err = evaluate(monkeypatch, capfd, *words)
        assert (code == 0 and "Test a finished run" in out) if message is None else (code == 2 and message in err)
