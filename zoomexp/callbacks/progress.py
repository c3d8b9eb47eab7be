"""One progress bar over the whole run, with img/s and ETA; plain lines where there is no terminal."""

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from zoomexp.arguments import integer
from zoomexp.metrics.declared import LOSS, SPEED
from zoomexp.metrics.quantity import key_of
from zoomexp.run.epochs import metrics_of
from zoomexp.tasks.contract import Task, task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class RunProgress(NoBatchHooks, pl.callbacks.ProgressBar):
    """Shows epoch, running loss and accuracy, images per second and the time left, and a line per finished epoch.

    Args:
        every: Steps between two refreshes of the bar.
    """

    def __init__(self, every: int = 20) -> None:
        super().__init__()
        integer("callbacks.progress.every", every, 1)
        self.every, self.enabled = every, True
        self.console = Console(stderr=True)
        self.bar: Progress | None = None

    def disable(self) -> None:
        """Stay silent (ranks other than 0)."""
        self.enabled = False

    def enable(self) -> None:
        """Show it (rank 0)."""
        self.enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the step where the run begins or resumes."""
        super().on_train_start(trainer, pl_module)
        self.started, self.first_step, self.images = time.perf_counter(), trainer.global_step, 0
        self.total = trainer.estimated_stepping_batches
        if self.enabled and self.console.is_terminal:
            text = TextColumn("epoch {task.fields[epoch]}  {task.fields[state]}  {task.fields[speed]} img/s")
            eta = TextColumn("left")
            columns = (BarColumn(), text, TimeElapsedColumn(), TimeRemainingColumn(), eta)
            self.bar = Progress(*columns, console=self.console, refresh_per_second=2)  # each takes milliseconds
            self.bar.start()
            self.row = self.bar.add_task(
                "", total=self.total, completed=trainer.global_step, epoch="", state="", speed="0"
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh now and then."""
        if self.bar and batch_idx % self.every == 0:
            task = task_of(pl_module)
            running = task.meter.means()
            self.bar.update(
                self.row,
                completed=trainer.global_step,
                epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
                state=_shown(task, running),
                speed=SPEED.number((self.images + task.meter.images) / (time.perf_counter() - self.started)),
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the finished epoch's line."""
        task = task_of(pl_module)
        self.images += task.meter.images
        if not self.enabled:
            return
        metrics = metrics_of(trainer)
        train = {name: v for name, v in metrics.items() if name.startswith("train/")}
        val = {name: v for name, v in metrics.items() if name == f"val/{task.main.key}"}
        scores = _shown(task, train | val)
        done = trainer.global_step - self.first_step
        elapsed = time.perf_counter() - self.started
        left = elapsed / max(1, done) * (self.total - trainer.global_step)
        self.console.print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {scores}  "
            f"{SPEED.number(self.images / elapsed)} img/s  {left // 60:.0f}:{left % 60:02.0f} left",
            highlight=False,
            soft_wrap=True,
        )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar, also when training ends with an error."""
        if self.bar:
            self.bar.stop()
            self.bar = None


def _shown(task: Task, values: Mapping[str, Any]) -> str:
    """The loss and the task's main quantity among values, as they are declared, in that order."""
    quantities = {LOSS.key: LOSS, task.main.key: task.main}
    found = {name: quantities[key_of(name)] for name in values if key_of(name) in quantities}
    order = sorted(found, key=lambda name: (not name.startswith("train/"), found[name] is not LOSS))
    return "  ".join(f"{name} {found[name].number(float(values[name]))}" for name in order)
