"""Views of one image by one map, as the papers' loops make them: boxes by whole numbers, pieces by slicing."""

import torch
from torch import Tensor
from torch.nn import functional as F


def large(heat: Tensor, image: Tensor) -> Tensor:
    """A map (h, w) at the size of an image (C, H, W), corners on corners."""
    return F.interpolate(heat[None, None], size=image.shape[1:], mode="bilinear", align_corners=True)[0, 0]


def box_by_hand(inside: Tensor, padding: float) -> list[int]:
    """Top, bottom, left and right of what is inside (H, W), the ends left out as slices do."""
    edges = []
    for axis, places in enumerate(torch.nonzero(inside).T.tolist()):
        side = inside.shape[axis]
        edges += [max(int(min(places) - padding * side), 0), min(int(max(places) + padding * side), side)]
    return edges


def piece(image: Tensor, box: list[int], size: list[int]) -> Tensor:
    """What is in a box of an image (C, H, W), resized."""
    top, bottom, left, right = box
    return F.interpolate(image[None, :, top:bottom, left:right], size=size, mode="bilinear", align_corners=True)[0]


def crop_by_hand(image: Tensor, heat: Tensor, share: float | Tensor, padding: float) -> Tensor:
    """The crop (C, H, W) of an image."""
    box = box_by_hand(large(heat, image) >= share * heat.max(), padding)
    return piece(image, box, list(image.shape[1:]))
