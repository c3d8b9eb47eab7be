"""How a map spreads its mass, whatever is in the image: entropy, Gini coefficient, regions of its highest cells.

They turn "finer and more diverse attention" (AttZoom, arXiv 2508.03625) and "sparse masks" (Loupe, arXiv 2508.16663)
into figures. Maps are (B, 1, H, W), at least 0; one that is 0 everywhere counts as uniform.
"""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from zoomexp.metrics.localisation import mass


def entropy(maps: Tensor) -> Tensor:
    """Entropy of the map's mass, divided by that of a uniform map: (B,), 0 for one single cell, 1 for a flat map.

    H = -sum_i p_i log p_i / log N over the N cells; 1 for a map of one cell.

    >>> entropy(torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]))  # log 2 / log 4
    tensor([0.5000])
    """
    share = mass(maps).flatten(1)
    if share.shape[1] == 1:
        return torch.ones_like(share[:, 0])
    return -torch.special.xlogy(share, share).sum(1) / math.log(share.shape[1])


def gini(maps: Tensor) -> Tensor:
    """Gini coefficient of the cells: (B,), 0 for a flat map, 1 - 1/N where one of the N cells has all the mass.

    G = sum_i (2 i - N - 1) p_i / N, with p_1 <= ... <= p_N the shares of the mass.

    >>> gini(torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]]))  # (1 * 1/4 + 3 * 3/4) / 4
    tensor([0.6250])
    """
    share = mass(maps).flatten(1).sort(dim=1).values
    count = share.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=share.device) - count - 1
    return (weights * share).sum(1) / count


def regions(maps: Tensor, share: float = 0.2) -> tuple[Tensor, Tensor]:
    """How many connected regions the highest cells form, and how large they are on average.

    Args:
        maps: (B, 1, H, W).
        share: Of the cells, those that count as highest, at least one. Cells equal to the lowest of them join in, so a
            flat map is one region. Neighbours share a side.

    Returns:
        Number (B,), and mean size (B,) as a share of the map, so that maps of different grids compare. The number
        depends on the grid: resize maps to one grid before comparing it.

    >>> heat = torch.tensor([[[[9.0, 8.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 7.0]]]])
    >>> regions(heat, share=1 / 3)  # a pair and a single one, of nine cells
    (tensor([2.]), tensor([0.1667]))
    """
    cells = maps.detach().float().flatten(1)
    lowest = cells.topk(max(1, round(share * cells.shape[1])), dim=1).values[:, -1:]
    highest = (cells >= lowest).view(maps.shape).cpu().numpy()
    counts = np.array([ndimage.label(chosen[0])[1] for chosen in highest])
    sizes = highest.mean(axis=(1, 2, 3)) / counts
    number, size = (torch.as_tensor(values, dtype=torch.float32, device=maps.device) for values in (counts, sizes))
    return number, size
