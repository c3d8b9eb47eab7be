"""A run's epochs in its loggers: all of them, each once and in order, also where it goes on after it was stopped."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from zoomexp.run.wandb_run import WandbRun


def log_epochs(loggers: Iterable[Logger], rows: Sequence[Mapping[str, Any]]) -> None:
    """Log epochs that are over.

    Args:
        loggers: that have none of them.
        rows: of the run's history, an epoch each, with the optimizer's `step` at its end.
    """
    for logger in loggers:
        for row in rows:
            logger.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))


@rank_zero_only
def log_earlier(loggers: Iterable[Logger], rows: Sequence[Mapping[str, Any]]) -> None:
    """Log the epochs before the one at which a run goes on, as far as loggers do not have them from the first start."""
    for logger in loggers:
        log_epochs([logger], rows[_had(logger, len(rows)) :])


def _had(logger: Logger, epochs: int) -> int:
    """How many epochs a logger has from an earlier start; most begin anew, a CSV file in the place of the old one."""
    if isinstance(logger, TensorBoardLogger):  # adds to what lies in the run's folder
        return epochs
    return logger.epochs_before if isinstance(logger, WandbRun) else 0
