"""Training averages that cost a batch nothing: its loss and hits are kept as they are, and added up when they are read.

So the device does no work for them from step to step, and reading is the only synchronisation.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from zoomexp.errors import DivergedError
from zoomexp.graphs.records import Records


class TrainingMeter:
    """Sums of loss terms and hits since `reset`. What was not read yet is held: a few small tensors a batch.

    Attributes:
        records: where steps that are replayed as a graph write theirs; None: there are none.
    """

    def __init__(self) -> None:
        self.records: Records | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.images = 0
        self._sums: dict[str, np.float32] = {}
        self._hits: dict[str, int] = {}
        self._forget_unread()

    def _forget_unread(self) -> None:
        self._steps: list[int] = []
        self._losses: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)
        self._right: dict[str, list[Tensor]] = defaultdict(list)

    def update(
        self, terms: Mapping[str, Tensor], loss: Tensor, images: int, hits: Mapping[str, Tensor], step: int
    ) -> None:
        """Add one batch.

        Args:
            terms: Loss terms, scalars, means over the batch.
            loss: Their sum.
            images: B, how many images the batch has.
            hits: Whether each image is one, (B,) bool, by name.
            step: The global step.
        """
        self.images += images
        self._steps.append(step)
        self._losses["loss"].append((loss.detach(), images))
        if len(terms) > 1:
            for name, value in terms.items():
                self._losses[name].append((value.detach(), images))
        for name, right in hits.items():
            self._right[name].append(right)

    def means(self) -> dict[str, float]:
        """Means per image of every loss term, and every kind of hit in percent.

        Raises:
            DivergedError: If a loss was NaN or infinite; names the first such step.
        """
        self._add_up()
        means = {name: float(value) / self.images for name, value in self._sums.items()}
        return means | {name: 100 * count / self.images for name, count in self._hits.items()}

    def _add_up(self) -> None:
        if self.records is not None and (found := self.records.take()) is not None:
            each = np.full(len(found.steps), found.images, np.float32)
            self._add({name: (values, each) for name, values in found.losses.items()}, found.hits, found.steps)
        losses = {
            name: (
                torch.stack([value for value, _ in parts]).float().cpu().numpy(),
                np.array([images for _, images in parts], np.float32),
            )
            for name, parts in self._losses.items()
        }
        self._add(losses, {name: int(torch.cat(right).sum()) for name, right in self._right.items()}, self._steps)
        self._forget_unread()

    def _add(
        self, losses: Mapping[str, tuple[np.ndarray, np.ndarray]], hits: Mapping[str, int], steps: Sequence[int]
    ) -> None:
        """Add what N steps found: by name (N,) values and how many images each is the mean of; hits in all."""
        for name, (values, images) in losses.items():
            if name == "loss":
                _check(values, steps)
            # One after the other: the sum does not depend on how often it was read.
            self._sums[name] = np.add.accumulate([self._sums.get(name, np.float32(0)), *values * images])[-1]
        for name, count in hits.items():
            self._hits[name] = self._hits.get(name, 0) + count


def _check(losses: np.ndarray, steps: Sequence[int]) -> None:
    """Raise for the first of the losses (N,) that is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        raise DivergedError(f"the loss became NaN or infinite at step {steps[bad[0]]}")
