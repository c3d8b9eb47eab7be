"""What a map should point at, cell by cell: a box, a mask, or discs around parts.

A map's grid of rows and columns covers the image evenly, each cell a rectangle of the image.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Size = int | Sequence[int]  # of images in pixels: the side of squares, or height and width
Grid = tuple[int, ...]  # rows and columns of a map
POINTS = 64  # at least so many sample points a side stand for a map's area where discs are concerned


class Target(NamedTuple):
    """The object on a map's grid.

    Args:
        covered: The share of each cell's area that is the object, (B, 1, rows, cols) in [0, 1].
        inside: Whether each cell's centre lies in the object, (B, 1, rows, cols) bool.
    """

    covered: Tensor
    inside: Tensor


def box_target(boxes: Tensor, grid: Grid, image_size: Size) -> Target:
    """Boxes (B, 4), x0, y0, x1, y1 in pixels; x0 <= x < x1 is inside, what lies outside the image is cut off.

    >>> box_target(torch.tensor([[0.0, 0.0, 24.0, 16.0]]), (2, 2), image_size=32).covered
    tensor([[[[1.0000, 0.5000],
              [0.0000, 0.0000]]]])
    """
    (rows, cols), (height, width) = grid, sides(image_size)
    x0, y0, x1, y1 = (side[:, None].float() for side in boxes.unbind(1))
    x, y = (torch.arange(count, device=boxes.device) for count in (cols, rows))
    across = (torch.minimum(x1 * cols / width, x + 1) - torch.maximum(x0 * cols / width, x)).clamp(min=0)
    down = (torch.minimum(y1 * rows / height, y + 1) - torch.maximum(y0 * rows / height, y)).clamp(min=0)
    x, y = _centres(cols, width, boxes.device), _centres(rows, height, boxes.device)
    in_x, in_y = (x0 <= x) & (x < x1), (y0 <= y) & (y < y1)
    return Target(*((one[:, :, None] * other[:, None, :])[:, None] for one, other in ((down, across), (in_y, in_x))))


def mask_target(masks: Tensor, grid: Grid) -> Target:
    """Masks (B, height, width) bool, of all of the image; a cell that cuts pixels counts their parts inside it.

    >>> mask_target(torch.tensor([[[True, True, True], [False, False, False], [False, False, False]]]), (1, 2)).covered
    tensor([[[[0.3333, 0.3333]]]])
    """
    (rows, cols), (height, width) = grid, masks.shape[1:]
    shares = _overlaps(rows, height, masks.device) @ masks.float() @ _overlaps(cols, width, masks.device).T
    x, y = (_centres(count, side, masks.device).long() for count, side in ((cols, width), (rows, height)))
    return Target(shares[:, None], masks[:, y[:, None], x[None, :]][:, None].bool())


def part_target(parts: Tensor, grid: Grid, image_size: Size, radius: float) -> Target:
    """Discs around the visible ones of parts (B, P, 3): x, y in pixels, and visible (1 or 0).

    Args:
        parts: See above.
        grid: Of the map.
        image_size: Side of the image in pixels, or height and width.
        radius: Of the discs, as a share of the image's shorter side.

    Returns:
        The target; shares are measured at sample points, at least 64 a side of the map.
    """
    rows, cols = grid
    finer = math.ceil(POINTS / min(grid))
    fine = _near(parts, (rows * finer, cols * finer), image_size, radius)
    return Target(F.avg_pool2d(fine.float(), finer), _near(parts, grid, image_size, radius))


def _near(parts: Tensor, grid: Grid, image_size: Size, radius: float) -> Tensor:
    """Which cells' centres lie within the radius of a visible part: (B, 1, rows, cols) bool."""
    height, width = sides(image_size)
    y, x = _centres(grid[0], height, parts.device), _centres(grid[1], width, parts.device)
    near = torch.zeros(len(parts), *grid, dtype=torch.bool, device=parts.device)
    for part_x, part_y, visible in parts.permute(1, 2, 0):
        distance = (x - part_x[:, None])[:, None, :] ** 2 + (y - part_y[:, None])[:, :, None] ** 2
        near |= (distance <= (radius * min(height, width)) ** 2) & (visible > 0)[:, None, None]
    return near[:, None]


def _overlaps(cells: int, pixels: int, device: torch.device) -> Tensor:
    """The share of each cell that each pixel fills along a side, (cells, pixels); rows add up to 1."""
    first, pixel = torch.arange(cells, device=device)[:, None] * pixels / cells, torch.arange(pixels, device=device)
    ends = torch.minimum(first + pixels / cells, pixel + 1) - torch.maximum(first, pixel)
    return ends.clamp(min=0) * cells / pixels


def _centres(count: int, side: int, device: torch.device) -> Tensor:
    """Where the centres of `count` cells lie along a side, in pixels."""
    return (torch.arange(count, device=device) + 0.5) * side / count


def sides(image_size: Size) -> tuple[int, int]:
    """Height and width of images that are squares of that side, or have both.

    >>> sides(32), sides((6, 8))
    ((32, 32), (6, 8))
    """
    return (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
