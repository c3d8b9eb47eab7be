"""What a trainer of Lightning has and its class does not declare, since its connectors set it: for the type checker.

Library: pytorch-lightning 2.6. Can go when `make types` calls the ignores below unused.
"""

from typing import Any

import pytorch_lightning as pl


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Its callbacks, in the order in which they are called; the list itself."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # its callback connector sets it
    return callbacks


def data_of(trainer: pl.Trainer) -> Any:
    """The data module that it fits or tests with; see `zoomexp.data_protocols` for what that may say of itself."""
    return trainer.datamodule  # type: ignore[attr-defined]  # its data connector sets it


def logging_interval(trainer: pl.Trainer) -> int:
    """Steps from one log to the next."""
    steps: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # its logger connector sets it
    return steps
