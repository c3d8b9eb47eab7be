"""Pixels that are right, class by class and image by image, and the scores of any images that follow from them.

Over all pixels of the images that count (not those IGNORED), for each class c

    IoU = |P_c and T_c| / |P_c or T_c|;   Dice = 2 |P_c and T_c| / (|P_c| + |T_c|)

and the mean over the classes that are predicted or there; pixel accuracy is the share of pixels whose class is right.
Boundary IoU (Cheng et al., CVPR 2021, arXiv 2103.16562) is IoU of the masks' edges alone: of each mask those pixels
that lie within d of its outside, d = 2 % of the image's diagonal, at least a pixel; the image's own edge is outside.
Pixels that are ignored are of no class in either mask, so both have the same edge there.

`tasks.segmentation` reports torchmetrics' numbers of the first three; a test holds these equal.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from zoomexp.datasets.masked import IGNORED

BAND = 0.02  # of the diagonal
AT_ONCE = 2**25  # values of one-hot masks that are held at a time
COUNTS = ("both", "predicted", "truth", "edge_both", "edge_either")


def edge_width(height: int, width: int) -> int:
    """d, in pixels.

    >>> edge_width(48, 48), edge_width(256, 256), edge_width(8, 8)
    (1, 7, 1)
    """
    return max(1, round(BAND * float(np.hypot(height, width))))


def edges(masks: Tensor, width: int) -> Tensor:
    """The pixels of masks (..., H, W) bool that lie within `width` of the outside, in rows or columns: bool."""
    outside = F.pad((~masks).float().flatten(0, -3)[None], (width,) * 4, value=1.0)
    reach = 2 * width + 1
    near = F.max_pool2d(F.max_pool2d(outside, (reach, 1), 1), (1, reach), 1)
    return masks & near.bool().view(masks.shape)


def image_counts(said: Tensor, truth: Tensor, classes: int) -> dict[str, Tensor]:
    """How many pixels of each image and class there are.

    Args:
        said: (B, H, W) int64, the predicted classes.
        truth: (B, H, W) int64, the true ones, or IGNORED.
        classes: K.

    Returns:
        (B, K) int32 each: `both` (the class is predicted and true), `predicted`, `truth`, `edge_both` and `edge_either`
        (in the intersection and the union of the masks' edges).
    """
    chunk = max(1, AT_ONCE // (classes * said[0].numel()))
    parts = [_counted(*pair, classes) for pair in zip(said.split(chunk), truth.split(chunk), strict=True)]
    return {name: torch.cat([part[name] for part in parts]) for name in COUNTS}


def _counted(said: Tensor, truth: Tensor, classes: int) -> dict[str, Tensor]:
    every = torch.arange(classes, device=said.device).view(1, -1, 1, 1)
    there = truth[:, None] == every
    guess = (said[:, None] == every) & (truth != IGNORED)[:, None]
    width = edge_width(*said.shape[1:])
    guess_edge, true_edge = edges(guess, width), edges(there, width)
    masks = (guess & there, guess, there, guess_edge & true_edge, guess_edge | true_edge)
    return {name: mask.sum((2, 3), dtype=torch.int32) for name, mask in zip(COUNTS, masks, strict=True)}


class EdgeIoU(Metric):
    """Boundary IoU of all images since the last `reset`, in [0, 1], over all processes.

    Args:
        classes: K.
    """

    full_state_update = False
    both: Tensor
    either: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name in ("both", "either"):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, counts: Mapping[str, Tensor]) -> None:
        """Add images by their `image_counts`."""
        self.both += counts["edge_both"].sum(0)
        self.either += counts["edge_either"].sum(0)

    def compute(self) -> Tensor:
        """The mean over the classes that have an edge."""
        shares = self.both / self.either
        return shares[self.either > 0].mean()


def miou(predictions: Mapping[str, np.ndarray]) -> float:
    """Mean IoU in percent of what `predictions.npz` keeps of images: COUNTS, a row each."""
    return _mean(by_class(predictions)["iou"])


def dice(predictions: Mapping[str, np.ndarray]) -> float:
    """Mean Dice in percent, likewise."""
    return _mean(by_class(predictions)["dice"])


def boundary_iou(predictions: Mapping[str, np.ndarray]) -> float:
    """Mean boundary IoU in percent, likewise."""
    return _mean(by_class(predictions)["boundary_iou"])


def pixel_accuracy(predictions: Mapping[str, np.ndarray]) -> float:
    """The share of pixels whose class is right, in percent, likewise."""
    return 100 * float(predictions["both"].sum() / max(1, predictions["truth"].sum()))


def by_class(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`iou`, `dice` and `boundary_iou` of each class in [0, 1], (K,); NaN of a class that is neither said nor there."""
    both, said, true, edge, either = (predictions[name].sum(0, dtype=np.int64) for name in COUNTS)
    parts = {"iou": (both, said + true - both), "dice": (2 * both, said + true), "boundary_iou": (edge, either)}
    return {
        name: np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
        for name, (part, whole) in parts.items()
    }


def class_scores(predictions: Mapping[str, np.ndarray], classes: list[str]) -> pd.DataFrame:
    """A row for each class: its `pixels`, and its `iou`, `dice` and `boundary_iou` in percent."""
    shares = {name: 100 * values for name, values in by_class(predictions).items()}
    pixels = predictions["truth"].sum(0, dtype=np.int64)
    return pd.DataFrame({"class": classes, "pixels": pixels} | shares)


def _mean(values: np.ndarray) -> float:
    return 100 * float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
