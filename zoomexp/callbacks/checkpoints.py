"""The best and the last checkpoint, in the run folder."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from zoomexp.callbacks.monitored import check_monitored
from zoomexp.callbacks.no_batch_hooks import NoBatchHooks
from zoomexp.checkpoint_files import CheckpointFiles
from zoomexp.errors import InputError
from zoomexp.results.record import LAST


class Checkpoints(NoBatchHooks, ModelCheckpoint):
    """Lightning's ModelCheckpoint, with its folder in the run folder (the trainer's `default_root_dir`).

    `last.ckpt` is written after every epoch; Lightning's own `save_last` leaves out those that are not the best so far.
    The one before it stays, as `previous.ckpt`, until the run is finished. `next_epoch` is the one, from 0, with which
    a run that stops now goes on; None before the training has begun.

    Saves at the end of a training epoch, after validation: a run resumes at the beginning of an epoch. Without a
    validation split there is no best, only the last.

    Args:
        monitor: Metric that decides which epoch is best.
        mode: "max" or "min".
    """

    def __init__(self, monitor: str = "val/acc1", mode: str = "max") -> None:
        if mode not in ("max", "min"):
            raise InputError(f"callbacks.checkpoints.mode must be max or min, got {mode!r}")
        self.next_epoch: int | None = None
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Point at the run folder, and have every checkpoint written as a whole."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # a strategy may have a way of its own
            trainer.strategy.checkpoint_io = CheckpointFiles()
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best, where this epoch is, and the last."""
        if self.monitor is not None:
            check_monitored("callbacks.checkpoints.monitor", self.monitor, trainer.callback_metrics)
        super().on_train_epoch_end(trainer, pl_module)
        self.last_model_path = str(Path(self.dirpath) / LAST)
        trainer.save_checkpoint(self.last_model_path)
        self.next_epoch = trainer.current_epoch + 1

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Note where the run begins or resumes; give up on a best checkpoint where nothing is validated."""
        self.next_epoch = trainer.current_epoch
        if not trainer.num_val_batches or not sum(trainer.num_val_batches):
            self.monitor, self.save_top_k = None, 0
        super().on_train_start(trainer, *args)
