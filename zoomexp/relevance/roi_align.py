"""RoIAlign: what a box shows of a map, as means of bilinear samples.

"Mask R-CNN" (He et al. 2017, arXiv 1703.06870), as torchvision's `roi_align` has it with `aligned=False`: a box of
h x w cells, at least 1 x 1, is cut into side x side parts, and in each of them the mean is taken over ceil(h / side)
rows of ceil(w / side) points, spread evenly. Between the centres of cells, which have whole numbers, samples are
bilinear; up to a cell beyond the outermost centres they are those at the border, and further out 0.

Rows and columns go apart, so that it is two products of matrices. torchvision's needs compiled parts, which not every
installation has, and else compiles itself.
"""

import torch
from torch import Tensor


def roi_align(maps: Tensor, boxes: Tensor, side: int) -> Tensor:
    """One box of each map.

    Args:
        maps: (B, K, H, W).
        boxes: (B, 4), x0, y0, x1, y1; 0 is the centre of the first cell, W - 1 or H - 1 that of the last.
        side: of what comes out.

    Returns:
        (B, K, side, side).

    >>> roi_align(torch.tensor([[[[1.0, 2.0], [3.0, 8.0]]]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 1)
    tensor([[[[3.5000]]]])
    """
    rows = _weights(boxes[:, 1], boxes[:, 3], side, maps.shape[2])
    columns = _weights(boxes[:, 0], boxes[:, 2], side, maps.shape[3])
    return rows[:, None] @ maps @ columns[:, None].mT


def _weights(low: Tensor, high: Tensor, side: int, cells: int) -> Tensor:
    """(B, side, cells): the weight of each cell in each part of an interval, low (B,) to high (B,)."""
    part = (high - low).clamp(min=1) / side
    count = part.ceil()
    number = torch.arange(int(count.max()), device=low.device) + 0.5
    steps = torch.arange(side, device=low.device)[:, None] + number / count[:, None, None]
    points = low[:, None, None] + steps * part[:, None, None]
    counted = (number < count[:, None, None]) & (points >= -1) & (points <= cells)
    distance = points.clamp(0, cells - 1)[..., None] - torch.arange(cells, device=low.device)
    hat = (1 - distance.abs()).clamp(min=0) * counted[..., None]
    return hat.sum(2) / count[:, None, None]
