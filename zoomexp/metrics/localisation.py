"""Does a map point at the object? Scores of maps against boxes, masks and part points, and control maps.

A map (B, 1, H, W) covers the image evenly: each of its cells is a rectangle of width / W x height / H pixels.
Its mass is the sum of its values, which are at least 0; a map that is 0 everywhere counts as uniform. An object without
area (a box that was cropped away, an empty mask, no visible part) scores 0: callers leave such images out.
"""

import numpy as np
import torch
from torch import Tensor

from zoomexp.metrics.targets import Size, Target, box_target, part_target

RADIUS = 0.1  # of the discs around parts, as a share of the image's shorter side


def pointing(maps: Tensor, target: Target) -> Tensor:
    """Pointing game (Zhang et al. 2016, arXiv 1608.00507): is the map's highest cell inside the object?

    A cell is inside if its centre is. Several highest cells count with the share that is inside, so that a flat map
    scores the object's share of the image and not the luck of the first cell.

    Args:
        maps: (B, 1, H, W).
        target: The object on the maps' grid.

    Returns:
        (B,) in [0, 1].
    """
    highest = maps == maps.amax(dim=(2, 3), keepdim=True)
    return (highest & target.inside).sum(dim=(1, 2, 3)) / highest.sum(dim=(1, 2, 3))


def energy(maps: Tensor, target: Target) -> Tensor:
    """Share of the map's mass inside the object (Wang et al. 2020, arXiv 1910.01279: energy-based pointing game).

    A cell that the object cuts counts with the share of its area that is inside. A flat map scores the object's share
    of the image.

    Args:
        maps: (B, 1, H, W), at least 0.
        target: The object on the maps' grid.

    Returns:
        (B,) in [0, 1].
    """
    return (mass(maps) * target.covered).sum(dim=(1, 2, 3))


def overlap(maps: Tensor, target: Target) -> Tensor:
    """Intersection over union of the object with the cells of at least t, for the best t of each image.

    On the cell grid, with exact areas: nothing is interpolated, and a cell that the object cuts adds the share that is
    inside to the intersection. Cells of one value go together, so a flat map scores the object's share of the image.

    Args:
        maps: (B, 1, H, W).
        target: The object on the maps' grid.

    Returns:
        (B,) in [0, 1].
    """
    covered = target.covered.flatten(1)
    values, order = maps.flatten(1).sort(dim=1, descending=True)
    intersection = covered.gather(1, order).cumsum(1)
    chosen = torch.arange(1, values.shape[1] + 1, device=values.device)
    iou = intersection / (chosen + covered.sum(1, keepdim=True) - intersection)
    iou[:, :-1].masked_fill_(values[:, :-1] == values[:, 1:], 0)  # only at the last of equal values
    return iou.amax(1)


def hits(maps: Tensor, boxes: Tensor, image_size: Size) -> Tensor:
    """`pointing` at boxes.

    Args:
        maps: (B, 1, H, W).
        boxes: (B, 4), x0, y0, x1, y1 in pixels of the image; x0 <= x < x1 is inside.
        image_size: Side of the image in pixels, or height and width.

    Returns:
        (B,) in [0, 1].

    >>> cells = torch.tensor([[[[0.1, 0.9], [0.2, 0.3]]]])
    >>> hits(cells, torch.tensor([[16.0, 0.0, 32.0, 16.0]]), image_size=32)
    tensor([1.])
    """
    return pointing(maps, box_target(boxes, tuple(maps.shape[2:]), image_size))


def energy_in_box(maps: Tensor, boxes: Tensor, image_size: Size) -> Tensor:
    """`energy` in boxes.

    Args:
        maps: (B, 1, H, W), at least 0.
        boxes: (B, 4), x0, y0, x1, y1 in pixels; what lies outside the image is cut off.
        image_size: Side of the image in pixels, or height and width.

    Returns:
        (B,) in [0, 1].

    >>> cells = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]])
    >>> energy_in_box(cells, torch.tensor([[0.0, 0.0, 24.0, 16.0]]), image_size=32)  # 1 + 3 / 2 of 4
    tensor([0.6250])
    """
    return energy(maps, box_target(boxes, tuple(maps.shape[2:]), image_size))


def best_iou(maps: Tensor, boxes: Tensor, image_size: Size) -> Tensor:
    """`overlap` with boxes.

    Args:
        maps: (B, 1, H, W).
        boxes: (B, 4), x0, y0, x1, y1 in pixels; what lies outside the image is cut off.
        image_size: Side of the image in pixels, or height and width.

    Returns:
        (B,) in [0, 1].

    >>> cells = torch.tensor([[[[0.9, 0.8], [0.1, 0.3]]]])
    >>> best_iou(cells, torch.tensor([[0.0, 0.0, 32.0, 16.0]]), image_size=32)  # the upper two cells
    tensor([1.])
    """
    return overlap(maps, box_target(boxes, tuple(maps.shape[2:]), image_size))


def mass_near_parts(maps: Tensor, parts: Tensor, image_size: Size, radius: float = RADIUS) -> Tensor:
    """`energy` within a distance of a visible part.

    Args:
        maps: (B, 1, H, W), at least 0.
        parts: (B, P, 3), x, y in pixels and visible (1 or 0).
        image_size: Side of the image in pixels, or height and width.
        radius: The distance as a share of the shorter side.

    Returns:
        (B,) in [0, 1]. A cell's share of the discs' area is measured at sample points, at least 64 a side of the map.

    >>> cells = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]])
    >>> parts = torch.tensor([[[24.0, 8.0, 1.0], [0.0, 0.0, 0.0]]])
    >>> mass_near_parts(cells, parts, image_size=32, radius=0.25).round(decimals=2)  # 3/4 of pi/4
    tensor([0.5900])
    """
    return energy(maps, part_target(parts, tuple(maps.shape[2:]), image_size, radius))


def mass(maps: Tensor) -> Tensor:
    """Maps (B, 1, H, W), at least 0, divided by their sums; uniform where the sum is 0."""
    maps = maps.float()
    total = maps.sum(dim=(2, 3), keepdim=True)
    return torch.where(total > 0, maps / total.clamp(min=torch.finfo(torch.float32).tiny), 1 / maps[0].numel())


def centre_prior(maps: Tensor) -> Tensor:
    """The control that always points at the middle: maps of the same shape in [0, 1], falling with the distance."""
    rows, cols = maps.shape[2:]
    y = torch.linspace(-1, 1, rows, device=maps.device)[:, None]
    x = torch.linspace(-1, 1, cols, device=maps.device)[None, :]
    return (1 - (x**2 + y**2) / 2).expand(len(maps), 1, rows, cols)


def random_prior(maps: Tensor, indices: Tensor, seed: int = 0) -> Tensor:
    """The control that knows nothing: maps of the same shape, uniform random in [0, 1).

    Args:
        maps: (B, 1, H, W); only shape and device count.
        indices: (B,) int64, the images' numbers: an image gets its map whatever batch or process it is in.
        seed: At least 0.
    """
    shape, drawn = maps.shape[1:], []
    for index in indices.tolist():
        state = int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0]) >> 1
        drawn.append(torch.rand(shape, generator=torch.Generator().manual_seed(state)))
    return torch.stack(drawn).to(maps.device)
