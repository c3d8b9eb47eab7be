"""Learning-rate schedules with a linear warm-up: by epoch, built from torch's schedulers, or by step."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from zoomexp.arguments import finite, list_of, number
from zoomexp.errors import InputError


def multistep(
    optimizer: Optimizer, *, epochs: int, milestones: Sequence[int], gamma: float = 0.1, warmup_epochs: int = 0
) -> LRScheduler:
    """Multiply the learning rate by `gamma` when an epoch in `milestones` begins (counted from 0, warm-up included).

    Raises:
        InputError: For milestones that do not rise, or a warm-up that reaches the first of them.
    """
    _check_epochs(epochs, warmup_epochs)
    list_of("scheduler.milestones", milestones, int, "epochs, rising, at least 1")
    finite("scheduler.gamma", gamma, lambda factor: factor > 0, "a finite number above 0")
    if list(milestones) != sorted(set(milestones)) or any(milestone < 1 for milestone in milestones):
        raise InputError(f"scheduler.milestones must be rising epochs >= 1, got {list(milestones)}")
    if milestones and warmup_epochs >= milestones[0]:
        raise InputError(f"scheduler.warmup_epochs={warmup_epochs} must end before the first milestone {milestones[0]}")
    steps = MultiStepLR(optimizer, [milestone - warmup_epochs for milestone in milestones], gamma)
    return _after_warmup(optimizer, steps, warmup_epochs)


def _check_epochs(epochs: int, warmup_epochs: int) -> None:
    for field, value in (("trainer.max_epochs", epochs), ("scheduler.warmup_epochs", warmup_epochs)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{field}={value} must be a whole number of epochs")
    if epochs < 1:
        raise InputError(f"trainer.max_epochs={epochs} must be at least 1")
    if not 0 <= warmup_epochs < epochs:
        raise InputError(f"scheduler.warmup_epochs={warmup_epochs} must be in [0, {epochs}), the epochs of the run")


def cosine(optimizer: Optimizer, *, epochs: int, min_lr: float = 0.0, warmup_epochs: int = 0) -> LRScheduler:
    """Half a cosine from the learning rate down to `min_lr` over the epochs that the warm-up leaves.

    Raises:
        InputError: If the warm-up leaves none, or a number of epochs is not whole.
    """
    _check_epochs(epochs, warmup_epochs)
    number("scheduler.min_lr", min_lr, 0)
    length = epochs - warmup_epochs
    if any("lr_scale" in group for group in optimizer.param_groups):
        return _after_warmup(optimizer, _scaled_cosine(optimizer, length, min_lr), warmup_epochs)
    return _after_warmup(optimizer, CosineAnnealingLR(optimizer, length, min_lr), warmup_epochs)


def _scaled_cosine(optimizer: Optimizer, length: int, min_lr: float) -> LRScheduler:
    """The same for groups with factors on their rates: each has its factor on `min_lr`, too."""
    lowest = min_lr / base_rate(optimizer)
    return LambdaLR(optimizer, lambda epoch: lowest + (1 - lowest) * (1 + math.cos(math.pi * epoch / length)) / 2)


def base_rate(optimizer: Optimizer) -> float:
    """The learning rate of parameters without a factor of their own."""
    group = optimizer.param_groups[0]
    return group["lr"] / group.get("lr_scale", 1)


class StepCosine(LRScheduler):
    """A linear rise and half a cosine, moving with every step and reaching `min_lr` after the last one.

    A short run spends its last steps at small rates this way; a cosine by epoch ends four epochs at a quarter of its
    rate. `spread` says how many steps the run has, which is known when its trainer is.

    Args:
        optimizer: Its groups' rates are the peaks.
        min_lr: What every group ends at, times its `lr_scale` if it has one; at least 0.
        warmup: The share of the steps on which the rates rise, in [0, 1).

    Raises:
        InputError: If a number is out of its range.
    """

    def __init__(self, optimizer: Optimizer, *, min_lr: float = 0.0, warmup: float = 0.0) -> None:
        number("scheduler.min_lr", min_lr, 0)
        finite("scheduler.warmup", warmup, lambda share: 0 <= share < 1, "a number in [0, 1)")
        self.min_lr, self.warmup, self.total_steps = float(min_lr), warmup, 1
        super().__init__(optimizer)

    def spread(self, total_steps: int) -> None:
        """Spread the schedule over so many steps; the rates are those of the step at hand at once."""
        self.total_steps = total_steps
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            if torch.is_tensor(group["lr"]):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def get_lr(self) -> list[Any]:
        """The groups' rates at step `last_epoch`, as torch calls its counter."""
        rise = int(self.warmup * self.total_steps)
        if self.last_epoch < rise:
            return [peak * (self.last_epoch + 1) / (rise + 1) for peak in self.base_lrs]
        done = min(1.0, (self.last_epoch - rise) / (self.total_steps - rise))
        lowest = [self.min_lr * group.get("lr_scale", 1) for group in self.optimizer.param_groups]
        share = (1 + math.cos(math.pi * done)) / 2
        return [low + (peak - low) * share for low, peak in zip(lowest, self.base_lrs, strict=True)]


def _after_warmup(optimizer: Optimizer, schedule: LRScheduler, warmup_epochs: int) -> LRScheduler:
    """Put a linear rise from lr / (warmup_epochs + 1) in front of a schedule."""
    if warmup_epochs == 0:
        return schedule
    rise = LinearLR(optimizer, start_factor=1 / (warmup_epochs + 1), total_iters=warmup_epochs)
    return SequentialLR(optimizer, [rise, schedule], milestones=[warmup_epochs])
