"""What an epoch of a classifier says of the whole run: its accuracies and loss, the classes' shares, the rate."""

import math
from collections.abc import Mapping
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from zoomexp.health.judging import Classes, Split
from zoomexp.run.epochs import metrics_of
from zoomexp.tasks.contract import Task
from zoomexp.training_protocols import logit_weight


class EpochFacts:
    """Gathers them. `lr` is the rate at the epoch's start, `spread` that of the outputs in the latest validation."""

    def __init__(self) -> None:
        self.lr = 0.0
        self.spread: float | None = None
        self._counts: Tensor | None = None  # labels of the validation images by class
        self._closed = False

    def count_labels(self, batch: Mapping[str, Tensor], classes: int | None) -> None:
        """Count the labels (B,) of a validation batch, in the first validation; they are the same in every other."""
        if self._closed or classes is None:
            return
        counts = torch.bincount(batch["label"], minlength=classes)
        self._counts = counts if self._counts is None else self._counts + counts

    def close_labels(self, trainer: pl.Trainer) -> None:
        """Put the counts of all processes together, once."""
        if self._closed or self._counts is None:
            return
        self._closed = True
        if trainer.world_size > 1:
            self._counts = trainer.strategy.reduce(self._counts, reduce_op="sum")
        self._counts = self._counts.cpu()

    def classes(self, count: int | None) -> Classes | None:
        """The classes' shares among the validation images, or equal ones where nothing is validated.

        Args:
            count: K; None for a task without classes.
        """
        if count is None or count < 2:
            return None
        if self._counts is None:
            return Classes(count, 1 / count, math.log(count))
        shares = self._counts.double() / self._counts.sum()
        return Classes(count, float(shares.max()), float(torch.special.entr(shares).sum()))

    def splits(self, trainer: pl.Trainer, task: pl.LightningModule) -> dict[str, Split]:
        """The accuracies of the epoch, of the splits that have one."""
        images: dict[str, int] = {"train": cast(Task, task).meter.images * trainer.world_size}
        images |= {"val": int(self._counts.sum())} if self._counts is not None else {}
        metrics = metrics_of(trainer)
        return {
            split: Split(float(metrics[f"{split}/acc1"]), number)
            for split, number in images.items()
            if f"{split}/acc1" in metrics
        }

    def cross_entropy(self, trainer: pl.Trainer, task: pl.LightningModule) -> float | None:
        """The epoch's training cross-entropy; where the loss has one term alone, that term."""
        metrics = metrics_of(trainer)
        found = metrics.get("train/cross_entropy", metrics.get("train/loss"))
        return None if found is None else float(found) / logit_weight(cast(Task, task).model)

    def rate_rises(self, trainer: pl.Trainer) -> bool:
        """Whether the schedule has raised the rate at the end of the epoch: it is a warm-up."""
        return bool(trainer.optimizers[0].param_groups[0]["lr"] > self.lr)
