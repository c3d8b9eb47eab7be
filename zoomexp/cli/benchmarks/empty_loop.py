"""Lightning's loop around the same steps and nothing else: no metric, no logger, no callback but the clock.

What it takes more than a bare loop is Lightning's own, and the least that a step of this project can take.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from zoomexp.metrics.speed import clock


def empty_loop(
    model: nn.Module,
    loss: Callable[[Any], Tensor],
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Any],
    steps: int,
    trainer: pl.Trainer,
) -> float:
    """The seconds of `steps` steps.

    Args:
        model: what the loss is of; trained on.
        loss: batches to what is minimized.
        optimizer: of the model.
        batches: at least `steps`, on the device.
        steps: how many, at least 1.
        trainer: whose device, precision and clipping the steps have.
    """
    watch = _Watch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are few workers, and that nothing is logged
        pl.Trainer(
            max_epochs=1, limit_train_batches=steps, accelerator=trainer.strategy.root_device.type, devices=1,
            precision=trainer.precision, gradient_clip_val=trainer.gradient_clip_val, callbacks=[watch], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ).fit(_Steps(model, loss, optimizer), _Some(batches, steps))  # fmt: skip
    return watch.seconds


class _Steps(pl.LightningModule):
    def __init__(self, model: nn.Module, loss: Callable[[Any], Tensor], optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer = model, loss, optimizer

    def training_step(self, batch: Any, number: int) -> Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer


class _Some:
    """So many of the batches."""

    def __init__(self, batches: Iterable[Any], steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.batches), self.steps)


class _Watch(pl.Callback):
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = clock(trainer.strategy.root_device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = clock(trainer.strategy.root_device) - self.started
