"""Before a run begins: what its trainer and its data leave to train, validate and test on."""

from collections.abc import Sized
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from zoomexp.data_protocols import RunData
from zoomexp.errors import InputError
from zoomexp.tasks.training import TrainedModel
from zoomexp.upstream.trainer_parts import callbacks_of

USES = {"train": "train on", "val": "validate on", "test": "test on"}


def used(limit: float, batches: int) -> int:
    """How many of a split's batches a trainer's limit leaves: a whole number of them, or a share.

    >>> [used(1.0, 7), used(3, 7), used(9, 7), used(0.5, 7), used(0.1, 7)]
    [7, 3, 7, 3, 0]
    """
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def check_batches(split: str, limit: float, batches: Sized) -> None:
    """Refuse a limit on a split's batches that leaves none.

    Args:
        split: "train", "val" or "test".
        limit: a share, or a number of batches.
        batches: the split's loader.

    Raises:
        InputError: nothing is left.
    """
    if used(limit, len(batches)) == 0:
        least = f"; at least {1 / len(batches):.3g}, or a number of batches" if len(batches) else ""
        raise InputError(
            f"trainer.limit_{split}_batches={limit} and dataset.batch_size leave no batch to {USES[split]}{least}"
        )


def check_training(trainer: pl.Trainer, task: TrainedModel, data: RunData) -> None:
    """Refuse training without epochs or batches, and batches that cannot be mixed.

    Raises:
        InputError: there is nothing to train on, or an odd number of images to mix in pairs.
    """
    if trainer.max_epochs is None or trainer.max_epochs < 1:
        raise InputError(f"trainer.max_epochs={trainer.max_epochs} must be a whole number, at least 1")
    batches = data.train_dataloader()
    check_batches("train", trainer.limit_train_batches, batches)
    if getattr(task, "mixing", None):
        for images in (data.batch_size // trainer.world_size, batches.smallest_batch):
            cast(Any, task).mixing.check(images)


def check_validation(trainer: pl.Trainer, data: RunData, evaluate: str) -> None:
    """Refuse what wants scores of validation where no epoch has any.

    Raises:
        InputError: "best" weights or early stopping without validation, or a limit that leaves no batch for it.
    """
    if _validates(trainer, data):
        check_batches("val", trainer.limit_val_batches, data.val_dataloader())
        return
    why = (
        "no epoch is validated (dataset.val_fraction, trainer.limit_val_batches, trainer.check_val_every_n_epoch, "
        "trainer.max_epochs, trainer.max_steps)"
    )
    if evaluate == "best":
        raise InputError(f"evaluate=best: {why}, so none is the best; choose evaluate=last")
    for callback in callbacks_of(trainer):
        if isinstance(callback, EarlyStopping) and str(callback.monitor).startswith("val/"):
            raise InputError(f"{cast(Any, callback).option}.monitor={callback.monitor}: {why}")


def _validates(trainer: pl.Trainer, data: RunData) -> bool:
    """Whether a run means to validate an epoch: one is validated at its end, and `max_steps` may come before."""
    if trainer.limit_val_batches == 0 or len(data.val_dataloader()) == 0:
        return False
    epochs = trainer.max_epochs
    if trainer.max_steps > 0:
        batches = used(trainer.limit_train_batches, len(data.train_dataloader()))
        epochs = min(cast(int, epochs), trainer.max_steps // -(-batches // trainer.accumulate_grad_batches))
    return cast(int, epochs) >= (trainer.check_val_every_n_epoch or 1)
