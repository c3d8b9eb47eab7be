"""What the steps of an epoch found, kept on the device until somebody reads it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Found(NamedTuple):
    """What some steps found, on the host.

    Attributes:
        losses: (n,) float32 by name, one value a step.
        hits: how many in all, by name.
        steps: the global steps, n of them.
        images: how many each step saw.
    """

    losses: dict[str, np.ndarray]
    hits: dict[str, int]
    steps: list[int]
    images: int


class Records:
    """Rows of loss terms and hits, one a step, written at a place that lies on the device.

    Args:
        steps: of an epoch.
        images: a step.
        device: where the rows lie.
    """

    def __init__(self, steps: int, images: int, device: torch.device) -> None:
        self.images, self.device, self.steps = images, device, steps
        self.rows = torch.arange(steps, device=device)
        self.place = torch.zeros((), dtype=torch.int64, device=device)
        self.names: tuple[list[str], list[str]] | None = None
        self.begin(0)

    def begin(self, first: int) -> None:
        """Begin an epoch, whose first step is the global step `first`."""
        self.place.zero_()
        self.first, self.written, self.read = first, 0, 0

    def write(self, terms: Mapping[str, Tensor], loss: Tensor, hits: Mapping[str, Tensor]) -> None:
        """Add a row: the terms and their sum, scalars, and how many of the images are hits, (B,) bool by name."""
        values = {"loss": loss} | (dict(terms) if len(terms) > 1 else {})
        if self.names is None:  # the first step says what there is
            self.names = (list(values), list(hits))
            self.values = torch.zeros(self.steps, len(values), device=self.device)
            self.counts = torch.zeros(self.steps, len(hits), dtype=torch.int64, device=self.device)
        row = torch.stack([value.detach().float() for value in values.values()])
        here = (self.rows == self.place)[:, None]  # an index_copy_ may wait for the device where it is deterministic
        self.values.copy_(torch.where(here, row, self.values))
        if hits:
            counts = torch.stack([right.sum() for right in hits.values()])
            self.counts.copy_(torch.where(here, counts, self.counts))
        self.place.add_(1)

    def take(self) -> Found | None:
        """What was written since the last time, which waits for the device; None: nothing."""
        if self.read == self.written or self.names is None:
            return None
        rows, names = slice(self.read, self.written), self.names
        values, counts = self.values[rows].cpu().numpy(), self.counts[rows].sum(0).tolist()
        steps = list(range(self.first + self.read, self.first + self.written))
        self.read = self.written
        losses = {name: values[:, column] for column, name in enumerate(names[0])}
        return Found(losses, dict(zip(names[1], counts, strict=True)), steps, self.images)
