"""Does a map point at the object? Scores of maps against ground-truth boxes and part points, and control maps.

A map (B, 1, H, W) covers the image evenly: each of its cells is a rectangle of width / W x height / H pixels.
Its mass is the sum of its values, which are at least 0; a map that is 0 everywhere counts as uniform. A box without
area (the object was cropped away) scores 0, and so does an image without visible parts: callers leave those out.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Size = int | Sequence[int]  # of images in pixels: the side of squares, or height and width
POINTS = 64  # at least so many sample points a side stand for a map's area where discs are concerned


def hits(maps: Tensor, boxes: Tensor, image_size: Size) -> Tensor:
    """Pointing game (Zhang et al. 2016, arXiv 1608.00507): is the map's highest cell inside the box?

    A cell is inside if its centre is. Several highest cells count with the share that is inside, so that a flat map
    scores the box's share of the image and not the luck of the first cell.

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
    highest = maps == maps.amax(dim=(2, 3), keepdim=True)
    inside = _inside(boxes, maps.shape[2], maps.shape[3], image_size)
    return (highest & inside).sum(dim=(1, 2, 3)) / highest.sum(dim=(1, 2, 3))


def energy_in_box(maps: Tensor, boxes: Tensor, image_size: Size) -> Tensor:
    """Share of the map's mass inside the box (Wang et al. 2020, arXiv 1910.01279: energy-based pointing game).

    A cell that the box cuts counts with the share of its area that is inside. A flat map scores the box's share of
    the image.

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
    return (mass(maps) * _covered(boxes, maps.shape[2], maps.shape[3], image_size)).sum(dim=(1, 2, 3))


def best_iou(maps: Tensor, boxes: Tensor, image_size: Size) -> Tensor:
    """Intersection over union of the box with the cells of at least t, for the best t of each image.

    On the cell grid, with exact areas: nothing is interpolated, and a cell that the box cuts adds the share that is
    inside to the intersection. Cells of one value go together, so a flat map scores the box's share of the image.

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
    covered = _covered(boxes, maps.shape[2], maps.shape[3], image_size).flatten(1)
    values, order = maps.flatten(1).sort(dim=1, descending=True)
    intersection = covered.gather(1, order).cumsum(1)
    chosen = torch.arange(1, values.shape[1] + 1, device=values.device)
    iou = intersection / (chosen + covered.sum(1, keepdim=True) - intersection)
    iou[:, :-1].masked_fill_(values[:, :-1] == values[:, 1:], 0)  # only at the last of equal values
    return iou.amax(1)


def mass_near_parts(maps: Tensor, parts: Tensor, image_size: Size, radius: float = 0.1) -> Tensor:
    """Share of the map's mass within a distance of a visible part.

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
    rows, cols = maps.shape[2:]
    finer = math.ceil(POINTS / min(rows, cols))
    height, width = sides(image_size)
    x, y = _centres(cols * finer, width, maps.device), _centres(rows * finer, height, maps.device)
    near = torch.zeros(len(maps), len(y), len(x), dtype=torch.bool, device=maps.device)
    for part_x, part_y, visible in parts.permute(1, 2, 0):
        distance = (x - part_x[:, None])[:, None, :] ** 2 + (y - part_y[:, None])[:, :, None] ** 2
        near |= (distance <= (radius * min(height, width)) ** 2) & (visible > 0)[:, None, None]
    return (mass(maps) * F.avg_pool2d(near[:, None].float(), finer)).sum(dim=(1, 2, 3))


def mass(maps: Tensor) -> Tensor:
    """Maps (B, 1, H, W), at least 0, divided by their sums; uniform where the sum is 0."""
    maps = maps.float()
    total = maps.sum(dim=(2, 3), keepdim=True)
    return torch.where(total > 0, maps / total.clamp(min=torch.finfo(torch.float32).tiny), 1 / maps[0].numel())


def _inside(boxes: Tensor, rows: int, cols: int, image_size: Size) -> Tensor:
    """Which cell centres lie in each box: (B, 1, rows, cols) bool."""
    height, width = sides(image_size)
    x, y = _centres(cols, width, boxes.device), _centres(rows, height, boxes.device)
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    in_x, in_y = (x0 <= x) & (x < x1), (y0 <= y) & (y < y1)
    return (in_y[:, :, None] & in_x[:, None, :])[:, None]


def _covered(boxes: Tensor, rows: int, cols: int, image_size: Size) -> Tensor:
    """Share of each cell's area that lies in the box: (B, 1, rows, cols) in [0, 1]."""
    x0, y0, x1, y1 = (side[:, None].float() for side in boxes.unbind(1))
    x, y = (torch.arange(count, device=boxes.device) for count in (cols, rows))
    height, width = sides(image_size)
    across = (torch.minimum(x1 * cols / width, x + 1) - torch.maximum(x0 * cols / width, x)).clamp(min=0)
    down = (torch.minimum(y1 * rows / height, y + 1) - torch.maximum(y0 * rows / height, y)).clamp(min=0)
    return (down[:, :, None] * across[:, None, :])[:, None]


def _centres(count: int, side: int, device: torch.device) -> Tensor:
    """Where the centres of `count` cells lie along a side, in pixels."""
    return (torch.arange(count, device=device) + 0.5) * side / count


def sides(image_size: Size) -> tuple[int, int]:
    """Height and width of images that are squares of that side, or have both.

    >>> sides(32), sides((6, 8))
    ((32, 32), (6, 8))
    """
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)


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
