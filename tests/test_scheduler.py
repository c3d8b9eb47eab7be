"""Schedules against their formulas, epoch by epoch."""

import math

import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.scheduler import cosine, multistep

LR = 0.8


def rates(schedule, epochs: int, **kwargs) -> list[float]:
    """The learning rate of each epoch, and the one that would follow."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = schedule(optimizer, epochs=epochs, **kwargs)
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [0, 1, 3])
@pytest.mark.parametrize("least", [0.0, 0.05])
def test_cosine(warmup, least):
    expected = [LR * (epoch + 1) / (warmup + 1) for epoch in range(warmup)]
    for epoch in range(10 - warmup):
        expected.append(least + (LR - least) * (1 + math.cos(math.pi * epoch / (10 - warmup))) / 2)
    assert rates(cosine, 10, min_lr=least, warmup_epochs=warmup) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("milestones", [[], [3], [4, 5, 9], [4, 50]])
def test_multistep(warmup, milestones):
    expected = [LR * (epoch + 1) / (warmup + 1) for epoch in range(warmup)]
    for epoch in range(warmup, 10):
        expected.append(LR * 0.1 ** sum(epoch >= milestone for milestone in milestones))
    assert rates(multistep, 10, milestones=milestones, warmup_epochs=warmup) == pytest.approx(expected)


def test_gamma():
    assert rates(multistep, 4, milestones=[1, 3], gamma=0.5) == pytest.approx([LR, LR / 2, LR / 2, LR / 4])


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        (multistep, {"milestones": [5, 3]}, r"scheduler\.milestones must be rising epochs >= 1, got \[5, 3\]"),
        (multistep, {"milestones": [3, 3]}, r"scheduler\.milestones must be rising"),
        (multistep, {"milestones": [0, 3]}, r"scheduler\.milestones must be rising epochs >= 1"),
        (
            multistep,
            {"milestones": [2, 3], "warmup_epochs": 2},
            r"warmup_epochs=2 must end before the first milestone 2",
        ),
        (cosine, {"warmup_epochs": 10}, r"scheduler\.warmup_epochs=10 must be in \[0, 10\)"),
        (cosine, {"warmup_epochs": -1}, r"scheduler\.warmup_epochs=-1 must be in \[0, 10\)"),
        (cosine, {"warmup_epochs": 1.5}, r"scheduler\.warmup_epochs=1\.5 must be a whole number of epochs"),
        (cosine, {"epochs": 0}, r"trainer\.max_epochs=0 must be at least 1"),
        (cosine, {"epochs": None}, r"trainer\.max_epochs=None must be a whole number of epochs"),
    ],
)
def test_refusals(schedule, arguments, message):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    with pytest.raises(InputError, match=message):
        schedule(optimizer, **({"epochs": 10} | arguments))
