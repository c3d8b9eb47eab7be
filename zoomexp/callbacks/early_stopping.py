"""Ending a run early, with a clear word where the metric that decides is not there."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks

from zoomexp.arguments import integer, number
from zoomexp.callbacks.monitored import DECLARED, check_mode, check_monitored, monitored


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's EarlyStopping.

    Args:
        monitor: Metric that decides; `val/main` is the task's main quantity.
        mode: "min", "max", or "declared": as the quantity declares.
        patience: Epochs without an improvement that it lets pass, at least 0.
        min_delta: What counts as an improvement, at least 0.

    Raises:
        InputError: An argument out of its range, or, after the first epoch, a metric that is not there.
    """

    def __init__(self, monitor: str, mode: str = "min", patience: int = 3, min_delta: float = 0.0) -> None:
        integer("callbacks.early_stopping.patience", patience, 0)
        number("callbacks.early_stopping.min_delta", min_delta, 0)
        check_mode("callbacks.early_stopping.mode", mode)
        self._asked = monitor, mode, patience, min_delta
        super().__init__(monitor, mode="min" if mode == DECLARED else mode, patience=patience, min_delta=min_delta)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Point at the task's quantity; what was seen so far, if anything, comes back from a checkpoint later."""
        if stage == "fit":
            monitor, mode, patience, min_delta = self._asked
            monitor, mode = monitored("callbacks.early_stopping", monitor, mode, pl_module)
            super().__init__(monitor, mode=mode, patience=patience, min_delta=min_delta)
        super().setup(trainer, pl_module, stage)

    def _validate_condition_metric(self, logs: dict[str, Any]) -> bool:
        check_monitored("callbacks.early_stopping.monitor", self.monitor, logs)
        return super()._validate_condition_metric(logs)
