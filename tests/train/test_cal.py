"""Runs under CAL's head: what their records say, that one which is resumed ends alike, and that it learns."""

import json

import pandas as pd
import pytest
import torch

from zoomexp.errors import FaultError
from zoomexp.tasks.classification import Classifier

HEAD = ("attention=none", "head=cal", "head.maps=4")
FEW = ("dataset=cluttered_digits", "dataset.canvas=32", "dataset.train_images=60", "dataset.test_images=20",
       "dataset.batch_size=18", "trainer.max_epochs=1", "logger=none")  # fmt: skip
DIGITS = ("dataset=digits", "dataset.train_size=100", "dataset.test_size=30", "dataset.batch_size=30", "logger=none")


def test_the_record_says_how_it_was_tested_and_what_that_costs(train, tmp_path):
    for form in ("crop", "raw"):
        ended = train(*HEAD, f"head.test={form}", "head.test_threshold=0.9", "evaluate=last", base=FEW)
        assert ended.code == 0, ended.err
    found = {}
    for path in tmp_path.glob("out/runs/*/resnet20-none-default/seed0-*/metrics.json"):
        config = (path.parent / "config.yaml").read_text()
        found["raw" if "test: raw" in config else "crop"] = json.loads(path.read_text()), path.parent
    (crop, folder), (raw, other) = found["crop"], found["raw"]
    assert crop["choices"]["head"] == raw["choices"]["head"] == "cal"
    assert crop["cost"]["macs"] == 2 * raw["cost"]["macs"]
    assert crop["metrics"]["test/loss"] != raw["metrics"]["test/loss"]
    for name in ("pointing_game", "energy_in_box", "best_iou"):  # of the same map, in the same places
        score = crop["metrics"][f"test/{name}/scores"]
        assert score == raw["metrics"][f"test/{name}/scores"] == crop["metrics"][f"test/{name}"]
        assert f"test/{name}/centre_prior" in crop["metrics"]
    row = pd.read_csv(folder / "history.csv").iloc[-1]
    terms = ["cross_entropy", "augmented", "effect", "auxiliary"]
    assert row["train/loss"] == pytest.approx(sum(row[f"train/{name}"] for name in terms), rel=1e-5)
    weights = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (folder, other)
    ]
    assert weights[0]["model.centres.values"].any()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())  # the training is one


def test_a_resumed_run_has_the_uninterrupted_ones_centres(train, tmp_path, monkeypatch):
    words = (*HEAD, "head.views=[crop,mix,drop]", "evaluate=last", "trainer.max_epochs=3")
    assert train(*words, base=DIGITS).code == 0
    (whole,) = tmp_path.glob("out/runs/*/*/seed0-*")
    stopped = f"output_dir={tmp_path / 'stopped'}"

    def ends(task):
        if task.current_epoch == 2:
            raise FaultError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "on_validation_epoch_start", ends, raising=False)
        assert train(*words, stopped, base=DIGITS).code == 1
    ended = train(*words, stopped, base=DIGITS)
    assert ended.code == 0 and "resumes at epoch 3" in ended.err, ended.err
    (again,) = tmp_path.glob("stopped/runs/*/*/seed0-*")
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in (whole, again)
    ]
    assert states[0].keys() == states[1].keys() and "model.centres.values" in states[0]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("head.test=both",), "head.test='both' must be one of crop, raw"),
        (
            ("head.views=[crop,zoom]",),
            "head.views=['crop', 'zoom'] must be a list of crop, drop, mix, each at most once",
        ),
        (("mixing=mixup",), "mixing: head=cal keeps a centre for each class, and mixed images have two; mixing=none"),
        (("+head.depth=1",), "head.depth: CAL has no such option; allowed: host, num_classes, example, maps, counterf"),
        (
            ("backbone=vit_digits", "tokens=tome"),
            "head: takes the place of a host's last layer; tokens=uniform detector",
        ),
    ],
)
def test_bad_input_is_one_line(train, tmp_path, words, said):
    ended = train(*HEAD, *words, base=FEW)
    assert ended.code == 2 and f"error: {said}" in ended.err and "Traceback" not in ended.err
    assert not list(tmp_path.glob("out/runs/*/*/*"))


@pytest.mark.slow
def test_it_learns(train, facts):
    """Three short epochs; chance is 10 %. After two of them 39 % of the validation images were right."""
    short = ("trainer.max_epochs=3", "dataset.train_images=2000", "dataset.test_images=200", "dataset.canvas=32")
    assert train("attention=none", "head=cal", "logger=none", base=short).code == 0
    stored = facts()
    assert stored["health"] == "ok"
    assert stored["metrics"]["test/acc1"] >= 25
