"""Learning-rate schedules by epoch, with a linear warm-up; built from torch's schedulers."""

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from zoomexp.arguments import listed, number, real
from zoomexp.errors import InputError


def multistep(
    optimizer: Optimizer, *, epochs: int, milestones: Sequence[int], gamma: float = 0.1, warmup_epochs: int = 0
) -> LRScheduler:
    """Multiply the learning rate by `gamma` when an epoch in `milestones` begins (counted from 0, warm-up included).

    Raises:
        InputError: For milestones that do not rise, or a warm-up that reaches the first of them.
    """
    _check_epochs(epochs, warmup_epochs)
    listed("scheduler.milestones", milestones, int, "epochs, rising, at least 1")
    real("scheduler.gamma", gamma, lambda factor: factor > 0, "a finite number above 0")
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
    return _after_warmup(optimizer, CosineAnnealingLR(optimizer, epochs - warmup_epochs, min_lr), warmup_epochs)


def _after_warmup(optimizer: Optimizer, schedule: LRScheduler, warmup_epochs: int) -> LRScheduler:
    """Put a linear rise from lr / (warmup_epochs + 1) in front of a schedule."""
    if warmup_epochs == 0:
        return schedule
    rise = LinearLR(optimizer, start_factor=1 / (warmup_epochs + 1), total_iters=warmup_epochs)
    return SequentialLR(optimizer, [rise, schedule], milestones=[warmup_epochs])
