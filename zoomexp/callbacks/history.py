"""One row per epoch with every metric, kept in the checkpoint and written as history.csv in the run folder."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from zoomexp.callbacks.no_batch_hooks import NoBatchHooks
from zoomexp.whole_file import whole_file


class History(NoBatchHooks, pl.Callback):
    """Rows of {epoch, step, epoch_s, img_per_s, lr, metrics}.

    The rows travel with the checkpoint, so a resumed run's file has every epoch once. `epoch_s` is the time of the
    training batches alone, without validation.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; note the rate, which the schedule changes before the epoch's end."""
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]
        self.started, self.validation_s = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the training clock."""
        self.validation_started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the training clock."""
        if not trainer.sanity_checking:
            self.validation_s += time.perf_counter() - self.validation_started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row and write the file."""
        seconds = time.perf_counter() - self.started - self.validation_s
        self.rows.append(
            {
                "epoch": trainer.current_epoch,
                "step": trainer.global_step,
                "epoch_s": round(seconds, 3),
                "img_per_s": round(pl_module.meter.images * trainer.world_size / seconds, 1),
                "lr": self.lr,
                **{name: float(value) for name, value in sorted(trainer.callback_metrics.items())},
            }
        )
        for logger in trainer.loggers:  # the metrics are there already
            logger.log_metrics(
                {name: self.rows[-1][name] for name in ("lr", "epoch_s", "img_per_s")}, trainer.global_step
            )
        self._write(Path(trainer.default_root_dir))

    @rank_zero_only
    def _write(self, folder: Path) -> None:
        with whole_file(folder / "history.csv") as partial:
            pd.DataFrame(self.rows).to_csv(partial, index=False)

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows back from a checkpoint."""
        self.rows = list(state_dict["rows"])
