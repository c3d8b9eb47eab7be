"""Scores the maps of a tested network by what it says of images whose pixels come or go in the maps' order."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.metrics.localisation import random_prior
from zoomexp.metrics.perturbation import area, deletion_curve, insertion_curve
from zoomexp.tasks.contract import task_of
from zoomexp.tasks.localising import maps_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks

CURVES: dict[str, Callable[..., Tensor]] = {"insertion": insertion_curve, "deletion": deletion_curve}


class Perturbation(NoBatchHooks, pl.Callback):
    """Logs `test/insertion/<site>` and `test/deletion/<site>`, areas in percent (see `metrics.perturbation`).

    `random_prior` is the control: a map of noise. The class that is watched is the one that the task
    says (`explained`): the label. For a task without classes and a model without maps nothing is done.
    A map and curve cost `steps` + 1 forwards of each image, so the first images of the test split have to do.

    Args:
        images: How many, on each process.
        steps: Portions in which the pixels change.

    Raises:
        InputError: A number below 1.
    """

    def __init__(self, images: int = 200, steps: int = 28) -> None:
        integer("callbacks.perturbation.images", images)
        integer("callbacks.perturbation.steps", steps)
        self.images, self.steps = images, steps
        self._areas: dict[str, list[Tensor]] = defaultdict(list)
        self._left = images

    def on_test_epoch_start(self, *_: Any) -> None:
        """Begin anew."""
        self._areas.clear()
        self._left = self.images

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch's images, if there are too few yet."""
        task, count = task_of(pl_module), min(self._left, len(batch["image"]))
        model, classes = task.model, task.explained(batch)
        if count == 0 or classes is None or tuple(task.inputs) != ("image",) or not maps_of(model):
            return
        self._left -= count
        maps = {name: value[:count].clone() for name, value in maps_of(model).items()}  # the next forward makes others
        maps["random_prior"] = random_prior(next(iter(maps.values())), batch["index"][:count])
        with trainer.precision_plugin.forward_context():
            self._score(model, batch["image"][:count], maps, classes[:count])

    def _score(self, model: nn.Module, images: Tensor, maps: dict[str, Tensor], labels: Tensor) -> None:
        for name, value in maps.items():
            for kind, curve in CURVES.items():
                self._areas[f"test/{kind}/{name}"].append(area(curve(model, images, value, labels, self.steps)))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the means."""
        means = {name: 100 * torch.cat(found).float().mean() for name, found in self._areas.items()}
        pl_module.log_dict(means, sync_dist=True)
