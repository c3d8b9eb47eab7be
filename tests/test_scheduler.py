"""Schedules against their formulas, epoch by epoch."""

import math

import numpy as np
import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.scheduler import StepCosine, cosine, multistep

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


@pytest.mark.parametrize("warmup", [0.0, 0.3])
@pytest.mark.parametrize("least", [0.0, 0.05])
def test_step_cosine(warmup, least):
    first, second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [first], "lr": LR}, {"params": [second], "lr": LR / 4}], lr=LR)
    schedule = StepCosine(optimizer, min_lr=least, warmup=warmup)
    schedule.spread(20)
    found = []
    for _ in range(21):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    rise = int(20 * warmup)
    factors = [(step + 1) / (rise + 1) for step in range(rise)]
    expected = [[peak * factor for peak in (LR, LR / 4)] for factor in factors]
    for step in range(21 - rise):
        bend = (1 + math.cos(math.pi * step / (20 - rise))) / 2
        expected.append([least + (peak - least) * bend for peak in (LR, LR / 4)])
    assert np.array(found) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(("options", "field"), [({"warmup": 1}, "warmup=1"), ({"min_lr": -1}, "min_lr=-1")])
def test_step_cosine_out_of_range(options, field):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    with pytest.raises(InputError, match=rf"scheduler\.{field} must be"):
        StepCosine(optimizer, **options)


def test_a_resumed_step_cosine_goes_on():
    def fresh():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
        schedule = StepCosine(optimizer, warmup=0.2)
        schedule.spread(10)
        return optimizer, schedule

    def rates_of(optimizer, schedule, steps):
        for _ in range(steps):
            yield optimizer.param_groups[0]["lr"]
            optimizer.step()
            schedule.step()

    whole = list(rates_of(*fresh(), 10))
    optimizer, schedule = fresh()
    begun = list(rates_of(optimizer, schedule, 4))
    again, resumed = fresh()
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert begun + list(rates_of(again, resumed, 6)) == whole
