"""The best checkpoint, in the run folder; the last one is `zoomexp.run.last_checkpoint`'s."""

from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from zoomexp.callbacks.monitored import DECLARED, check_mode, check_monitored, monitored
from zoomexp.run.epochs import validated
from zoomexp.upstream.no_batch_hooks import NoBatchHooks

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class Checkpoints(NoBatchHooks, ModelCheckpoint):
    """Lightning's ModelCheckpoint, with its folder in the run folder (the trainer's `default_root_dir`).

    Saves at the end of a training epoch that was validated. Without a validation split there is no best. A run whose
    folder has been moved goes on with the best that lies in it.

    Args:
        monitor: Metric that decides which epoch is best; `val/main` is the task's main quantity.
        mode: "max", "min", or "declared": the one that is better, as the quantity declares.
    """

    def __init__(self, monitor: str = "val/main", mode: str = "declared") -> None:
        check_mode("callbacks.checkpoints.mode", mode)
        self._asked = monitor, mode
        super().__init__(
            filename="best",
            monitor=monitor,
            mode="max" if mode == DECLARED else mode,  # known once the task is
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Point at the run folder and at the task's quantity."""
        if stage == "fit":
            self.monitor, self.mode = monitored("callbacks.checkpoints", *self._asked, pl_module)
            self.kth_value = torch.tensor(float("inf") if self.mode == "min" else -float("inf"))
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, where this epoch is the best."""
        if self.monitor is None or not validated(trainer):
            return
        check_monitored("callbacks.checkpoints.monitor", self.monitor, trainer.callback_metrics)
        super().on_train_epoch_end(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Give up on a best checkpoint where nothing is validated."""
        if not validates(trainer):
            self.monitor, self.save_top_k = None, 0
        super().on_train_start(trainer, *args)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back which is the best, as a file of the folder that the run has now."""

        def here(path: str) -> str:
            return str(Path(cast(str, self.dirpath)) / Path(path).name) if path else path

        moved = {name: here(state_dict[name]) for name in PATHS if name in state_dict}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": best, "dirpath": self.dirpath})


def validates(trainer: pl.Trainer) -> bool:
    """Whether any epoch of a fit that begins will be validated; Lightning itself looks when the first one is due."""
    every, epochs = trainer.check_val_every_n_epoch or 1, trainer.max_epochs
    if not trainer.limit_val_batches or (epochs is not None and 0 <= epochs < every):
        return False
    data = getattr(trainer, "datamodule", None)
    return bool(trainer.enable_validation if data is None else len(data.val_dataloader()))
