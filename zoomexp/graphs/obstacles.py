"""Why a run's training steps cannot be captured, as far as it shows before the first of them."""

from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.optim import Optimizer

from zoomexp.graphs.rates import FUSED, OTHERWISE, steps_on_device
from zoomexp.tasks.training import TrainedModel
from zoomexp.training_protocols import following_epochs, mixes_tokens, waits_for_host

# Hooks inside a step: a graph calls nothing.
INSIDE = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
OWN = ("optimizer_step", "optimizer_zero_grad", "backward")  # of a task


def on_one(trainer: pl.Trainer, kind: str) -> bool:
    """Whether one process trains on one device of that kind."""
    return type(trainer.strategy) is SingleDeviceStrategy and trainer.strategy.root_device.type == kind


def obstacle(trainer: pl.Trainer, task: pl.LightningModule, optimizer: Optimizer, kind: str = "cuda") -> str | None:
    """The first thing in the way of capturing the steps of `task`; None if nothing is to be seen.

    Args:
        trainer: with its strategy and callbacks.
        task: what it will fit.
        optimizer: that of the task, or another of the same class.
        kind: of device.
    """
    if not on_one(trainer, kind):
        return "only a run on one GPU is captured"
    if trainer.accumulate_grad_batches > 1:
        return f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: a graph holds one batch"
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return f"trainer.precision={trainer.precision} scales its loss on the host"
    if trainer._detect_anomaly:
        return "trainer.detect_anomaly looks at every value"
    if not steps_on_device(optimizer):
        known = ", ".join(kind.__name__ for kind in FUSED)
        allowed = f"{known}, without {', '.join(OTHERWISE)}"
        return f"optimizer {type(optimizer).__name__} steps on the host; those with a fused form do not: {allowed}"
    loss = cast(TrainedModel, task).loss
    if waits_for_host(loss):
        return f"loss={type(loss).__name__} works on the CPU in between"
    if getattr(task, "mixing", None) is not None:
        return "mixing draws random numbers on the host"
    if mixes_tokens(cast(TrainedModel, task).model):
        return "backbone.mix_token draws random numbers on the host"
    for part in following_epochs(cast(TrainedModel, task).model):
        return f"{type(part).__name__} trains differently in some epochs, and a graph always does the same"
    return _own_step(task) or _hook_inside(task, cast(Any, trainer).callbacks)


def _own_step(task: pl.LightningModule) -> str | None:
    """A task whose step is not that of all, which is made of what it tells the graph."""
    if getattr(type(task), "training_step", None) is not TrainedModel.training_step:
        return f"{type(task).__name__} has a training_step of its own"
    return None


def _hook_inside(task: pl.LightningModule, callbacks: list[pl.Callback]) -> str | None:
    for one, kind, names in [(task, pl.LightningModule, INSIDE + OWN), *((c, pl.Callback, INSIDE) for c in callbacks)]:
        for name in names:
            if _defines(one, kind, name):
                return f"{type(one).__name__}.{name} is called inside a step"
    return None


def _defines(one: Any, kind: type, name: str) -> bool:
    """Whether an object has a hook of its own instead of Lightning's, which does nothing."""
    hook = getattr(one, name, None)
    return callable(hook) and getattr(hook, "__func__", hook) is not vars(kind).get(name, getattr(kind, name))
