"""Boxes as tensors (..., 4): what is said and what is there, from one form to the other, how well two agree.

    corners    x0, y0, x1, y1         x0 <= x1, y0 <= y1
    centred    centre x, centre y, width, height

Unlike torchvision's pairwise functions these broadcast, so that one call compares the objects of many images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Detections(NamedTuple):
    """What a detector says of B images, N boxes each.

    `logits` (B, N, K + 1), the last class is "no object"; `boxes` (B, N, 4), centre x, centre y, width and height as
    shares of the image's sides.
    """

    logits: Tensor
    boxes: Tensor


class Objects(NamedTuple):
    """The objects of B images, one image after the other: T in all, an image may have none.

    `boxes` (T, 4) as in `Detections`; `labels` (T,) int64; `counts`, how many each image has.
    """

    boxes: Tensor
    labels: Tensor
    counts: Sequence[int]


def corners(centred: Tensor) -> Tensor:
    """Boxes given by centre and sides, (..., 4), by their corners.

    >>> corners(torch.tensor([3.0, 2.0, 4.0, 2.0])).tolist()
    [1.0, 1.0, 5.0, 3.0]
    """
    middle, half = centred[..., :2], 0.5 * centred[..., 2:]
    return torch.cat([middle - half, middle + half], -1)


def centred(corners: Tensor) -> Tensor:
    """Boxes given by their corners, (..., 4), by centre and sides."""
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def generalized_iou(one: Tensor, other: Tensor) -> Tensor:
    """Generalized IoU of boxes by their corners, (..., 4) each, broadcast: (...), in (-1, 1].

    Rezatofighi et al., CVPR 2019, arXiv 1902.09630: IoU - (hull - union) / hull, hull the smallest box around both. Two
    boxes without area in one place have none (NaN).

    >>> generalized_iou(torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 3, 2])).item()  # 2 / 6, and no gap
    0.3333333432674408
    """
    inside = _area(torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:]))
    union = _area(one[..., :2], one[..., 2:]) + _area(other[..., :2], other[..., 2:]) - inside
    hull = _area(torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:]))
    return inside / union - (hull - union) / hull


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(-1)
