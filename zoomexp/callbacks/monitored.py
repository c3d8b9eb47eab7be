"""Metrics that callbacks are told to watch."""

from collections.abc import Collection

import pytorch_lightning as pl

from zoomexp.errors import InputError
from zoomexp.metrics.declared import declaration
from zoomexp.tasks.contract import task_of

MAIN, DECLARED = "main", "declared"  # `val/main`: the task's main quantity; `declared`: better as the quantity says
MODES = ("max", "min", DECLARED)


def check_monitored(field: str, metric: object, known: Collection[str]) -> None:
    """Refuse a metric that no step has logged.

    >>> check_monitored("callbacks.checkpoints.monitor", "val/acc", ["val/acc1", "val/loss"])
    Traceback (most recent call last):
    zoomexp.errors.InputError: callbacks.checkpoints.monitor=val/acc: no such metric; allowed: val/acc1, val/loss
    """
    if metric not in known:
        raise InputError(f"{field}={metric}: no such metric; allowed: {', '.join(sorted(known))}")


def check_mode(field: str, mode: object) -> None:
    """Refuse anything but max, min and declared."""
    if mode not in MODES:
        raise InputError(f"{field}={mode!r} must be one of {', '.join(MODES)}")


def monitored(field: str, metric: str, mode: str, task: pl.LightningModule) -> tuple[str, str]:
    """What is watched of a task, and whether "max" or "min" of it is the best.

    Args:
        field: the option that holds `monitor` and `mode`.
        metric: a full name, or `<split>/main`.
        mode: "max", "min" or "declared".
        task: has `main` and `quantities`, where either is to be looked up.

    Raises:
        InputError: "declared", and nobody has declared which direction of the metric is better.
    """
    split, _, key = metric.rpartition("/")
    metric = f"{split}/{task_of(task).main.key}" if key == MAIN else metric
    if mode != DECLARED:
        return metric, mode
    quantity = declaration(metric, tuple(getattr(task, "quantities", ())))
    if quantity is None or quantity.mode is None:
        raise InputError(f"{field}.mode=declared: nobody declares which {metric} is better; say max or min")
    return metric, quantity.mode
