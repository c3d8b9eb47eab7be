"""One training step as a function of tensors that stay where they are: what a graph holds."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from zoomexp.graphs.records import Records
from zoomexp.graphs.source import Source
from zoomexp.tasks.training import TrainedModel, total


class TrainingStep:
    """Batch, forward, loss, backward, clipping, optimizer and the records, as Lightning's loop would do them.

    Args:
        trainer: says precision and clipping.
        task: gives the loss terms of a batch.
        optimizer: of the task; steps on the device (see `DeviceRates`).
        source: gives the batch.
        steps: of an epoch.
        device: of everything.
    """

    def __init__(
        self, trainer: pl.Trainer, task: TrainedModel, optimizer: Optimizer, source: Source, steps: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.trainer, self.task, self.optimizer, self.source = trainer, task, optimizer, source
        self.records = Records(steps, source.size, device)
        self.steps = steps
        self.epoch = torch.zeros((), dtype=torch.float64, device=device)  # as Python counts
        self.loss: Tensor | None = None

    def begin(self, epoch: int, first: int) -> None:
        """Begin an epoch, whose first step is the global step `first`."""
        self.epoch.fill_(epoch)
        self.records.begin(first)

    def __call__(self) -> None:
        """Do the step; nothing in it looks at the host, but for what never changes."""
        precision = self.trainer.precision_plugin
        batch: Mapping[str, Any] = precision.convert_input(self.source.batch())
        with precision.forward_context():
            epoch = self.epoch + self.records.place.double() / self.steps
            terms, hits = self.task.training_terms(batch, epoch)
            loss = total(terms)
        self.optimizer.zero_grad()
        loss.backward()
        clip, algorithm = self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
        self.task.configure_gradient_clipping(self.optimizer, clip, algorithm)
        self.optimizer.step()
        self.records.write(terms, loss, hits)
        self.loss = loss.detach()
