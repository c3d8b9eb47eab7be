"""Lightning's W&B logger, with the axes that a run's numbers have: epochs, steps, or none."""

from collections.abc import Mapping
from typing import Any, Literal

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from zoomexp.errors import InputError
from zoomexp.metrics.quantity import BEST

EPOCH, STEP = "epoch", "trainer/global_step"
DONE = "epochs"  # of the summary: how many epochs are over
BY_EPOCH = ("train/*", "val/*", "gate/*", "maps/*", "sheets/*", "lr", "epoch_s", "img_per_s")
BY_STEP = ("step/*", "lr-*")  # running averages; Lightning's LearningRateMonitor
ONCE = ("test/", "start/", "cost/")  # measured once: no series, but values of the run's summary


class WandbRun(WandbLogger):
    """A W&B run with `epoch` as the axis of what there is once an epoch; what is measured once is in the summary alone.

    Args:
        save_dir: Where W&B keeps its files, in a folder `wandb`.
        log_model: Checkpoints that become artifacts: the best one, at the end (true); each, as it is written ("all").
        options: Of Lightning's logger; what it does not know goes on to `wandb.init`.

    Raises:
        InputError: For another `log_model`.
    """

    def __init__(self, *, save_dir: str = ".", log_model: Literal["all"] | bool = False, **options: Any) -> None:
        if not isinstance(log_model, bool) and log_model != "all":
            raise InputError(f"logger.log_model={log_model!r} must be true, false or all")
        super().__init__(save_dir=save_dir, log_model=log_model, **options)
        self._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns about it
        self._epochs_before: int | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run; begun when it is first asked for."""
        import wandb

        if self._experiment is None and getattr(self, "_attach_id", None) is None and wandb.run is None:
            self._experiment = wandb.init(**self._wandb_init)  # Lightning would make steps the axis of everything
            for axis in (EPOCH, STEP):
                self._experiment.define_metric(axis, hidden=True)
            for axis, names in ((EPOCH, BY_EPOCH), (STEP, BY_STEP)):
                for name in names:
                    self._experiment.define_metric(name, step_metric=axis)
        return super().experiment

    @rank_zero_only
    def declare(self, best: Mapping[str, str]) -> None:
        """Keep the best value of series in the summary, beside the last.

        Args:
            best: "max" or "min" by the series' name, `val/acc1`.
        """
        for name, mode in best.items():
            self.experiment.define_metric(name, step_metric=EPOCH, summary=f"{mode},last")

    @property
    def epochs_before(self) -> int:
        """How many epochs W&B has of this run from an earlier start; only online runs go on, others begin anew."""
        if self._epochs_before is None:
            run = self.experiment
            self._epochs_before = int(run.summary.get(DONE, 0)) if run.resumed else 0
        return self._epochs_before

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log series, but for epochs that W&B has already; what is measured once goes into the summary."""
        if metrics.get(EPOCH, self.epochs_before) < self.epochs_before:
            return
        if "epoch_s" in metrics:
            self.experiment.summary[DONE] = int(metrics[EPOCH]) + 1
        once = {name: value for name, value in metrics.items() if is_once(name)}
        if once:
            self.experiment.summary.update({name: _plain(value) for name, value in once.items()})
        series = {name: value for name, value in metrics.items() if name not in once}
        if series.keys() - {EPOCH}:
            super().log_metrics(series, step)


def is_once(name: str) -> bool:
    """Whether a number is measured once a run.

    >>> [is_once(name) for name in ("test/acc1", "val/acc1_best", "epochs", "val/acc1", "epoch", "lr")]
    [True, True, True, False, False, False]
    """
    return name.startswith(ONCE) or name.endswith(BEST) or name == DONE


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
