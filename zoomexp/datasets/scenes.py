"""Images with any number of objects each, as arrays in memory, and their batches.

A batch is a dict: image (B, C, H, W) float32, channels-last in memory; size (B, 2) int64, each image's height and width
in it; index (B,) int64, the position in the split; count (B,) int64, how many objects each image has, T in all; boxes
(T, 4) float32, x0, y0, x1, y1 in pixels of `image`; labels (T,) int64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.loader import ArrayLoader, EpochPlan


@dataclass(frozen=True, eq=False)
class Scenes:
    """N images with T objects in all, those of the first image first.

    Attributes:
        images: (N, H, W, C) uint8.
        counts: (N,) int64, objects of each image.
        boxes: (T, 4) float32, x0, y0, x1, y1 in pixel edges.
        labels: (T,) int64.
        masks: (N, H, W) uint8, of each pixel 1 + the label of the object whose ink it is, 0 elsewhere; None: not known.
    """

    images: np.ndarray
    counts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.counts)

    def take(self, positions: np.ndarray) -> "Scenes":
        """Those at `positions` (M,), in that order."""
        counts, first = self.counts[positions], (self.counts.cumsum() - self.counts)[positions]
        rows = np.concatenate([np.arange(start, start + n) for start, n in zip(first, counts, strict=True)])
        masks = None if self.masks is None else self.masks[positions]
        return Scenes(self.images[positions], counts, self.boxes[rows], self.labels[rows], masks)


class SceneLoader(ArrayLoader):
    """Iterates over batches of scenes, seen as they are; arguments as for `ArrayLoader`."""

    def __init__(self, scenes: Scenes, **options: Any) -> None:
        super().__init__(ImageArrays(scenes.images, np.zeros(len(scenes), np.int64)), **options)
        self._counts, self._height_width = torch.from_numpy(scenes.counts), torch.tensor(scenes.images.shape[1:3])
        self._objects = torch.from_numpy(scenes.boxes), torch.from_numpy(scenes.labels)
        self._first = self._counts.cumsum(0) - self._counts

    def batch(self, plan: EpochPlan, chosen: Tensor) -> dict[str, Tensor]:
        """The batch of the images at places `chosen` (B,) int64; what is of objects is on the CPU."""
        batch, places = super().batch(plan, chosen), chosen.cpu()
        counts = self._counts[places]
        within = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        rows = self._first[places].repeat_interleave(counts) + within
        boxes, labels = (values[rows] for values in self._objects)
        size = self._height_width.expand(len(places), -1)
        return {"image": batch["image"], "size": size, "index": batch["index"], "count": counts, "boxes": boxes,
                "labels": labels}  # fmt: skip
