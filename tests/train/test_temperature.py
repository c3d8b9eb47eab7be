"""A network that is tested without training: whose temperature its scores are given at."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from zoomexp.run.stored_run import data_of, restored

TEACHER = ("dataset=digits", "attention=none", "backbone=vit_digits", "dataset.train_size=300", "dataset.test_size=60",
           "trainer.max_epochs=1", "logger=none")  # fmt: skip
OTHERS = ("dataset.image_size=48", *(word for word in TEACHER if not word.startswith(("backbone", "trainer"))))
GIVEN = 1.75
HALF = ("tokens=random", "tokens.keep_rate=0.5", "tokens.locations=[1,2]")


@pytest.fixture
def run(train, once, tmp_path) -> Path:
    """A finished run whose checkpoint says a temperature that no data would fit."""

    def do(folder: Path) -> None:
        assert train(f"output_dir={folder / 'out'}", base=TEACHER).code == 0
        (made,) = folder.glob("out/runs/*/vit_digits-*/seed0-*")
        weights = made / json.loads((made / "metrics.json").read_text())["weights"]
        torch.save(torch.load(weights, weights_only=True) | {"temperature": GIVEN}, weights)

    once("a temperature", do)
    return next(tmp_path.glob("out/runs/*/vit_digits-*/seed0-*"))


@pytest.fixture
def tested(train, run, tmp_path):
    """`tested("tokens=tome")` tests the run's network with that changed; returns its folder and metrics."""

    def do(*words: str) -> tuple[Path, dict[str, float]]:
        before = set(tmp_path.glob("out/runs/*/*/*/metrics.json"))
        ended = train("backbone=trained", f"backbone.run={run}", "evaluate=start", *words, base=OTHERS)
        assert ended.code == 0, ended.err
        (record,) = set(tmp_path.glob("out/runs/*/*/*/metrics.json")) - before
        return record.parent, json.loads(record.read_text())["metrics"]

    return do


def logits_of(folder: Path, data, part: str) -> tuple[torch.Tensor, np.ndarray]:
    """What the network of a run says of a part's images, and their labels."""
    found = list(data.plain_batches(part, np.arange(len(data.part(part))), 60))
    with torch.no_grad():
        logits = torch.cat([restored(folder)(batch["image"]) for batch in found])
    return logits.double(), torch.cat([batch["label"] for batch in found])


def test_the_same_network_has_the_temperature_of_its_run(tested, run):
    _, found = tested()
    assert found["test/temperature"] == GIVEN
    logits, labels = logits_of(run, data_of(run), "test")
    assert found["test/nll_t"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits / GIVEN, labels)), 1e-4)
    _, again = tested("backbone.image_size=48")  # its own size
    assert again["test/temperature"] == GIVEN


def test_another_network_has_that_of_held_out_images(tested, run):
    _, found = tested(*HALF)
    _, without = tested(*HALF, "trainer.limit_val_batches=0")
    assert set(found) - set(without) == {f"test/{name}" for name in ("temperature", "nll_t", "ece_t", "brier_t")}
    assert {name: found[name] for name in without} == without  # the same draws: nothing else moved
    folder, found = tested("tokens=tome", "tokens.r=2")
    logits, labels = logits_of(folder, data_of(run), "val")

    def surprise(log: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / np.exp(log), labels))

    expected = float(np.exp(minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x))
    assert found["test/temperature"] == pytest.approx(expected, rel=5e-3) and abs(expected - GIVEN) > 0.1


def test_images_that_are_tested_fit_none(tested):
    _, found = tested("tokens=tome", "tokens.r=2", "dataset.validate_on=test")
    assert "test/temperature" not in found
