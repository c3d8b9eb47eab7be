"""Lightning's loop over replayed steps: everything around a step is Lightning's, what a step does is the graph's."""

import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from torch.optim import Optimizer

from zoomexp.datasets.loader import ArrayLoader
from zoomexp.errors import InputError
from zoomexp.graphs.capture import Captured, CudaRecorder, Recorder
from zoomexp.graphs.obstacles import obstacle, on_one
from zoomexp.graphs.rates import DeviceRates, steps_on_device, steps_on_host
from zoomexp.graphs.source import CopiedSource, CutSource, Source
from zoomexp.graphs.step import TrainingStep
from zoomexp.run.out_of_memory import out_of_memory
from zoomexp.tasks.training import TrainedModel
from zoomexp.training_protocols import onlookers
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class ReplayedSteps(_AutomaticOptimization):
    """Takes the place of Lightning's forward, backward and update for the batches that a captured step takes.

    Args:
        trainer: whose loop it is.
        usual: what it takes the place of; does the other batches' steps, and its counts go on.
        step: what is done.
        captured: does it.
        rates: of the optimizer.
    """

    def __init__(
        self, trainer: pl.Trainer, usual: _AutomaticOptimization, step: TrainingStep, captured: Captured,
        rates: DeviceRates,
    ) -> None:  # fmt: skip
        super().__init__(trainer)
        self.optim_progress, self.usual = usual.optim_progress, usual
        self.step, self.captured, self.rates = step, captured, rates
        self.onlookers = onlookers(cast(Any, trainer).callbacks)

    def run(self, optimizer: Optimizer, batch_idx: int, kwargs: OrderedDict[str, Any]) -> dict[str, Any]:
        """Do the step of one batch; returns its loss, which the next replay overwrites."""
        if not self.step.source.takes(kwargs["batch"]):
            if self.captured.done == 0:
                self.captured.leave("batches are not tensors alone, dataset.batch_size rows each")
            return super().run(optimizer, batch_idx, kwargs)
        task, records, counts = self.step.task, self.step.records, self.optim_progress.optimizer.step
        number = self.trainer.global_step
        counts.increment_ready()
        self.rates.refresh()
        if not records.written:
            self.captured.begin()
        self.captured(seen=any(one.looking for one in self.onlookers))
        counts.increment_completed()
        records.written += 1
        task.meter.images += records.images
        task._current_fx_name = "training_step"  # where Lightning has it log
        task.report(number)
        task._current_fx_name = None
        return {"loss": self.step.loss}


class StepGraphs(NoBatchHooks, pl.Callback):
    """Has the training steps of a run on one GPU captured and replayed, and says in one line what became of it.

    Args:
        wanted: "auto": where it can be; True: or the run is refused; False: never. In all three cases the optimizer
            steps in its fused form, so that the numbers are the same.
        recorder: makes one for a device.
        kind: of the device.
    """

    def __init__(
        self, wanted: bool | str, recorder: Callable[[torch.device], Recorder] = CudaRecorder, kind: str = "cuda"
    ) -> None:
        self.wanted, self.recorder, self.kind = wanted, recorder, kind
        self.step: TrainingStep | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Decide, and take the place of Lightning's step; the optimizer has the state of a checkpoint by now."""
        (optimizer,) = trainer.optimizers
        if not on_one(trainer, self.kind):
            return steps_on_host(optimizer)
        rates = DeviceRates(optimizer, trainer.strategy.root_device) if steps_on_device(optimizer) else None
        if self.wanted is False:
            return None
        if reason := obstacle(trainer, pl_module, optimizer, self.kind):
            return self._say(reason)
        if trainer.num_training_batches == float("inf"):
            return self._say("nobody knows how many batches an epoch has")
        assert rates is not None  # an optimizer without them is an obstacle
        return self._install(trainer, cast(TrainedModel, pl_module), optimizer, rates)

    def _install(self, trainer: pl.Trainer, task: TrainedModel, optimizer: Optimizer, rates: DeviceRates) -> None:
        loader, device = trainer.train_dataloader, trainer.strategy.root_device
        source: Source
        if type(loader) is ArrayLoader:
            source = CutSource(loader)
        else:
            source = CopiedSource(cast(Any, trainer).datamodule.batch_size)
        self.step = TrainingStep(trainer, task, optimizer, source, int(trainer.num_training_batches), device)
        modules = torch.nn.ModuleDict({"model": task.model, "loss": task.loss})
        captured = Captured(self.step, self.recorder(device), modules, self._say, out_of_memory)
        task.meter.records = self.step.records
        loop = trainer.fit_loop.epoch_loop
        loop.automatic_optimization = ReplayedSteps(trainer, loop.automatic_optimization, self.step, captured, rates)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the step where it is."""
        if self.step is not None:
            self.step.begin(trainer.current_epoch, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give back the graph's memory."""
        self._release(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give back the graph's memory."""
        self._release(trainer, pl_module)

    def _release(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        if self.step is None:
            return
        loop = trainer.fit_loop.epoch_loop
        loop.automatic_optimization = cast(ReplayedSteps, loop.automatic_optimization).usual
        self.step.source.release()
        cast(TrainedModel, task).meter.records = self.step = None

    def _say(self, reason: str | None) -> None:
        if reason is not None and self.wanted is True:
            raise InputError(f"trainer.graph=true: {reason}; allowed: auto, false")
        done = (
            "each training step of a whole batch replays one CUDA graph; "
            "a smaller last batch, validation and test run as they are"
        )
        line = done if reason is None else f"training steps are not captured: {reason}"
        sys.stderr.write(f"trainer.graph: {line}\n")


def must_capture(trainer: pl.Trainer) -> bool:
    """Whether `trainer.graph=true` would refuse the run if its steps could not be captured."""
    return any(isinstance(one, StepGraphs) and one.wanted is True for one in cast(Any, trainer).callbacks)


def check_graph(wanted: object, trainer: pl.Trainer, task: pl.LightningModule, optimizer: Optimizer) -> bool:
    """Check `trainer.graph` before anything is written; returns whether the steps are to be captured.

    Raises:
        InputError: Another value than auto, true and false; or true where something is in the way.
    """
    if wanted != "auto" and not isinstance(wanted, bool):
        raise InputError(f"trainer.graph={wanted} must be auto, true or false")
    reason = obstacle(trainer, task, optimizer)
    if wanted is True and reason:
        raise InputError(f"trainer.graph=true: {reason}; allowed: auto, false")
    return wanted is not False and reason is None
