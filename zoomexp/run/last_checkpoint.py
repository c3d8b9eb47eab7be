"""The checkpoint that a run goes on from: written after every epoch, whatever callbacks the run has."""

from pathlib import Path
from typing import Any

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
    is the one, from 0, with which a run that stops now goes on; None before the training has begun. A run that was told
    to stop after an epoch (by early stopping, say) and is resumed trains no more: `told_to_stop` travels along.
    """

    next_epoch: int | None = None
    told_to_stop = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Have every checkpoint written as a whole."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # a strategy may have a way of its own
            trainer.strategy.checkpoint_io = CheckpointFiles()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save; a run resumes at the beginning of an epoch."""
        self.told_to_stop = trainer.should_stop
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / LAST)
        self.next_epoch = trainer.current_epoch + 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where the run begins or resumes; end one that had been told to stop."""
        self.next_epoch = trainer.current_epoch
        trainer.should_stop = trainer.should_stop or self.told_to_stop

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return {"told_to_stop": self.told_to_stop}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.told_to_stop = state_dict["told_to_stop"]
