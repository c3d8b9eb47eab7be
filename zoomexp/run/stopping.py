"""A run that is told to stop says where it goes on; of several processes all stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from zoomexp.run.interruption import SIGNALS, Interrupted
from zoomexp.run.last_checkpoint import LastCheckpoint
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class Stopping(NoBatchHooks, pl.Callback):
    """Keeps the signal handlers of `zoomexp.run.interruption` in place, and hands the signal on.

    Lightning puts its own in front of them for every fit and test. With several processes that handler broadcasts from
    where it was called, possibly in the middle of another collective, and the processes wait for one another until they
    are killed.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note the handlers, before Lightning comes."""
        self.handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, *args: Any) -> None:
        """Put them back."""
        self._restore()

    def on_test_start(self, *args: Any) -> None:
        """Put them back."""
        self._restore()

    def _restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self.handlers.items():
                signal.signal(number, handler)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Tell the processes that Lightning has started; a scheduler or torchrun tells all of them itself."""
        if isinstance(exception, Interrupted) and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGTERM)


@contextlib.contextmanager
def placed(trainer: pl.Trainer) -> Iterator[None]:
    """Let an interruption of what is done inside say with which epoch the run goes on."""
    try:
        yield
    except Interrupted as stopped:
        last = next((one for one in trainer.checkpoint_callbacks if isinstance(one, LastCheckpoint)), None)
        epoch = last.next_epoch if last else None
        if epoch is not None:
            done = trainer.max_epochs and epoch >= trainer.max_epochs
            stopped.place = "with the test" if done else f"at epoch {epoch + 1} of {trainer.max_epochs}"
        raise
