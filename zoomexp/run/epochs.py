"""One row per epoch with every metric: what a run's record is made of, whatever callbacks it has."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from zoomexp.run.logged_epochs import log_earlier
from zoomexp.scheduler import base_rate
from zoomexp.tasks.contract import task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.trainer_parts import callbacks_of


class Epochs(NoBatchHooks, pl.Callback):
    """Rows of {epoch, step, epoch_s, img_per_s, lr, metrics}; one that was not validated has no `val/` metrics.

    The rows travel with the checkpoint, so a resumed run's file and loggers have every epoch once. `epoch_s` is the
    time of the training batches alone, without validation.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.validated = False  # whether the epoch that is going on was

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; note the rate, which the schedule changes before the epoch's end."""
        self.lr = base_rate(trainer.optimizers[0])
        self.started, self.validation_s, self.validated = time.perf_counter(), 0.0, False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the training clock, and forget the last validation's metrics: this one may not have them all."""
        self.validation_started = time.perf_counter()
        known = trainer.callback_metrics
        for name in [name for name in known if name.startswith("val/")]:
            del known[name]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the training clock."""
        if not trainer.sanity_checking:
            self.validation_s += time.perf_counter() - self.validation_started
            self.validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row."""
        seconds = time.perf_counter() - self.started - self.validation_s
        self.rows.append(
            {
                "epoch": trainer.current_epoch,
                "step": trainer.global_step,
                "epoch_s": round(seconds, 3),
                "img_per_s": round(task_of(pl_module).meter.images * trainer.world_size / seconds, 3),
                "lr": self.lr,
                **{name: float(value) for name, value in sorted(metrics_of(trainer).items())},
            }
        )

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Log the epochs before those that come now: most loggers begin anew."""
        if trainer.state.fn == TrainerFn.FITTING:
            log_earlier(trainer.loggers, checkpoint["callbacks"].get(self.state_key, {"rows": []})["rows"])

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows back from a checkpoint."""
        self.rows = list(state_dict["rows"])


def metrics_of(trainer: pl.Trainer) -> dict[str, Any]:
    """The metrics of the epoch that ends: Lightning still has those of the last validation where there was none."""
    known = trainer.callback_metrics
    return {name: value for name, value in known.items() if validated(trainer) or not name.startswith("val/")}


def validated(trainer: pl.Trainer) -> bool:
    """Whether the epoch that ends was validated; a trainer without `Epochs` is taken to validate each."""
    return all(callback.validated for callback in callbacks_of(trainer) if isinstance(callback, Epochs))


def latest(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The metrics of the last epoch, and those of the last validation, if that was earlier.

    >>> latest([{"train/loss": 2.0, "val/loss": 2.5, "val/temperature": 1.2}, {"train/loss": 1.0, "val/loss": 1.5}])
    {'train/loss': 1.0, 'val/loss': 1.5}
    """
    found: dict[str, float] = {}
    for row in rows:
        now = {name: value for name, value in row.items() if "/" in name}
        if any(name.startswith("val/") for name in now):
            found = {name: value for name, value in found.items() if not name.startswith("val/")}
        found |= now
    return found


def epochs_of(trainer: pl.Trainer) -> Epochs:
    """The one of a trainer; `zoomexp.run.build` puts it before all callbacks."""
    return next(callback for callback in callbacks_of(trainer) if isinstance(callback, Epochs))
