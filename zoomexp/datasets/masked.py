"""Images whose every pixel has a class, as arrays in memory, and their batches.

A batch is a dict: image (B, C, H, W) float32, channels-last in memory; index (B,) int64, the position in the split;
pixel_label (B, H, W) uint8, the class of each pixel, or IGNORED where it counts neither way.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.loader import ArrayLoader, EpochPlan

IGNORED = 255  # a pixel whose class is not known


class MaskLoader(ArrayLoader):
    """Iterates over batches of images with masks, seen as they are.

    Args:
        images: (N, H, W, C) uint8.
        masks: (N, H, W) uint8.
        options: as for `ArrayLoader`.
    """

    def __init__(self, images: np.ndarray, masks: np.ndarray, **options: Any) -> None:
        super().__init__(ImageArrays(images, np.zeros(len(images), np.int64)), **options)
        self._masks = torch.from_numpy(masks).to(self.device)

    def batch(self, plan: EpochPlan, chosen: Tensor) -> dict[str, Tensor]:
        """The batch of the images at places `chosen` (B,) int64."""
        batch = super().batch(plan, chosen)
        return {"image": batch["image"], "index": batch["index"], "pixel_label": self._masks[chosen]}
