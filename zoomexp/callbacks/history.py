"""The run's epochs, as they go by: history.csv in the run folder, and rate and speed in the loggers."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from zoomexp.atomic_file import atomic_file
from zoomexp.run.epochs import epochs_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks

SHOWN = ("epoch", "lr", "epoch_s", "img_per_s")  # beside the metrics, which Lightning logs


class History(NoBatchHooks, pl.Callback):
    """Shows the rows of `zoomexp.run.epochs`. They travel with the checkpoint: a resumed run's file has all epochs."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what of the epoch's row was not logged yet, and write the file."""
        rows = epochs_of(trainer).rows
        for logger in trainer.loggers:  # the metrics are there already
            logger.log_metrics({name: rows[-1][name] for name in SHOWN}, trainer.global_step)
        self._write(Path(trainer.default_root_dir), rows)

    @rank_zero_only
    def _write(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        with atomic_file(folder / "history.csv") as partial:
            pd.DataFrame(rows).to_csv(partial, index=False)
