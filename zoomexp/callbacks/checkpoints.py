"""The best and the last checkpoint, in the run folder."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class Checkpoints(ModelCheckpoint):
    """Lightning's ModelCheckpoint, with its folder in the run folder (the trainer's `default_root_dir`).

    `last.ckpt` is written after every epoch; Lightning's own `save_last` leaves out those that are not the best so far.

    Saves at the end of a training epoch, after validation: a run resumes at the beginning of an epoch. Without a
    validation split there is no best, only the last.

    Args:
        monitor: Metric that decides which epoch is best.
        mode: "max" or "min".
    """

    def __init__(self, monitor: str = "val/acc1", mode: str = "max") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Point at the run folder."""
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best, where this epoch is, and the last."""
        super().on_train_epoch_end(trainer, pl_module)
        self.last_model_path = str(Path(self.dirpath) / "last.ckpt")
        trainer.save_checkpoint(self.last_model_path)

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Give up on a best checkpoint where nothing is validated."""
        if not trainer.num_val_batches or not sum(trainer.num_val_batches):
            self.monitor, self.save_top_k = None, 0
        super().on_train_start(trainer, *args)
