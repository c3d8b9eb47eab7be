"""The checkpoint that a run goes on from: written after every epoch, whatever callbacks the run has."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from zoomexp.results.record import LAST
from zoomexp.run.checkpoint_files import CheckpointFiles
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class LastCheckpoint(NoBatchHooks, Checkpoint):
    """Writes `checkpoints/last.ckpt` in the run folder (the trainer's `default_root_dir`).

    Lightning's own `save_last` leaves out the epochs that are not the best so far. The one before it stays, as
    `previous.ckpt`, until the run is finished. Comes after all callbacks, so that what they keep is in it. `next_epoch`
    is the one, from 0, with which a run that stops now goes on; None before the training has begun.
    """

    next_epoch: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Have every checkpoint written as a whole."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # a strategy may have a way of its own
            trainer.strategy.checkpoint_io = CheckpointFiles()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save; a run resumes at the beginning of an epoch."""
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / LAST)
        self.next_epoch = trainer.current_epoch + 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where the run begins or resumes."""
        self.next_epoch = trainer.current_epoch
