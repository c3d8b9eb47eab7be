"""The running averages of training against a hand loop."""

import numpy as np
import pytest
import torch

from zoomexp.errors import DivergedError
from zoomexp.tasks.meter import TrainingMeter


@pytest.fixture
def meter():
    return TrainingMeter()


def add(meter, size, values, rng, step=0):
    logits, target = rng.random((size, 4)), rng.integers(0, 4, size)
    terms = {name: torch.tensor(value) for name, value in values.items()}
    right = logits.argmax(1) == target
    meter.update(terms, sum(terms.values()), size, {"acc1": torch.tensor(right)}, step)
    return right.sum()


def test_means_are_per_image(meter):
    rng = np.random.default_rng(0)
    sizes, values = (5, 3, 8), [{"a": 1.0, "b": 0.25}, {"a": 2.0, "b": 0.5}, {"a": 4.0, "b": 0.75}]
    correct = sum(add(meter, size, value, rng) for size, value in zip(sizes, values, strict=True))
    weights = np.array(sizes) / 16
    assert meter.images == 16
    assert meter.means() == pytest.approx({
        "loss": weights @ [1.25, 2.5, 4.75], "a": weights @ [1, 2, 4], "b": weights @ [0.25, 0.5, 0.75],
        "acc1": 100 * correct / 16,
    })  # fmt: skip
    meter.reset()
    add(meter, 2, {"a": 3.0}, rng)
    assert set(meter.means()) == {"loss", "acc1"}  # a single term is the loss
    assert meter.means()["loss"] == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_first_bad_step_is_named(meter, bad):
    rng = np.random.default_rng(0)
    for step, value in enumerate([1.0, 1.0, bad, 1.0, float("nan"), 1.0], start=7):
        add(meter, 4, {"a": value}, rng, step)
    with pytest.raises(DivergedError, match=r"step 9$"):
        meter.means()
    meter.reset()
    add(meter, 4, {"a": 1.0}, rng, 20)
    assert meter.means()["loss"] == 1


def test_step_zero_can_be_bad(meter):
    add(meter, 4, {"a": float("nan")}, np.random.default_rng(0), 0)
    with pytest.raises(DivergedError, match=r"step 0$"):
        meter.means()


def test_nothing_keeps_the_graph(meter):
    weight = torch.ones((), requires_grad=True)
    terms = {"a": weight * 2, "b": weight * 3}
    meter.update(terms, sum(terms.values()), 1, {}, 0)
    held = [value for parts in meter._losses.values() for value, _ in parts]
    assert len(held) == 3
    assert not any(value.requires_grad for value in held)


@pytest.mark.parametrize("every", [1, 3, 100])
def test_the_sums_are_those_of_a_float32_loop_however_often_they_are_read(meter, every):
    draw, total = torch.Generator().manual_seed(0), torch.zeros(())
    for step in range(100):
        loss, size = torch.rand((), generator=draw) * 10, 1 + step % 7
        meter.update({"a": loss}, loss, size, {}, step)
        total += loss * size
        if step % every == 0:
            meter.means()
    assert meter.means() == {"loss": total.item() / meter.images}


def test_half_precision_terms_are_averaged_in_single(meter):
    one = torch.tensor(1.0, dtype=torch.bfloat16)
    for step in range(300):
        meter.update({"a": one}, one, 3, {}, step)
    assert meter.means() == {"loss": 1.0}
