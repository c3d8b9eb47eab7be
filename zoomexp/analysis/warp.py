"""Saliency warp: important places enlarged, the rest squeezed, with a grid that shows by how much.

AttZoom (arXiv 2508.03625) shows warped images and does not say how they are made; this is the resampling of "Learning
to Zoom: a Saliency-Based Sampling Layer" (Recasens et al. 2018, arXiv 1809.03355), with the map S as its saliency. The
picture's pixel at (x, y) shows the image at (u, v):

    u(x, y) = sum S(x', y') k((x, y), (x', y')) x' / sum S(x', y') k((x, y), (x', y'))      v likewise with y'
    k = exp(-distance^2 / (2 sigma^2))

over the cells (x', y') of the map, both axes from 0 to 1, so that sigma is a share of each side. The map is continued
beyond its borders by its edge values; a flat map gives the identity. (u, v) that leave the image are moved to its edge.

Deviation: a share `even` of the map's mass is spread over the whole image first, S = even + (1 - even) map / mean(map).
Without it a map that is 0 in most places, such as Grad-CAM, leaves nothing of the image but its peak.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomexp.analysis.overlay import CYAN, borders, painted_over, resized
from zoomexp.errors import InputError

CELLS = 64  # the map is resampled to so many cells a side before it is summed over
REACH = 4  # beyond the border, in sigmas


def warped(picture: Tensor, heat: Tensor, sigma: float = 1 / 6, even: float = 0.5, cells: int = 12) -> Tensor:
    """Warp a picture by a map, with a grid that was regular before.

    Args:
        picture: (3, H, W) in [0, 1].
        heat: (h, w), at least 0; 0 everywhere counts as flat.
        sigma: Width of the kernel as a share of the side; small ones tear, large ones do little.
        even: Share of the mass that is spread evenly, 0 to 1.
        cells: Cells of the grid a side; 0 for no grid.

    Returns:
        (3, H, W) in [0, 1].
    """
    height, width = picture.shape[1:]
    sources = sampling(heat, height, width, sigma, even)
    bent = F.grid_sample(
        picture[None], (2 * sources - 1)[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]
    if not cells:
        return bent
    cell = (sources * cells).floor().clamp(max=cells - 1)
    return painted_over(bent, borders(cell[..., 0]) | borders(cell[..., 1]), CYAN, 0.6)


def sampling(heat: Tensor, height: int, width: int, sigma: float = 1 / 6, even: float = 0.5) -> Tensor:
    """Where each pixel's centre of the warped picture comes from: (height, width, 2), u and v in 0..1.

    Raises:
        InputError: A sigma that is not above 0, or an `even` outside 0..1.
    """
    if sigma <= 0:
        raise InputError(f"sigma={sigma} must be above 0")
    if not 0 <= even <= 1:
        raise InputError(f"even={even} is outside 0 <= even <= 1")
    edge = math.ceil(REACH * sigma * CELLS)
    cells = resized(heat, CELLS, CELLS).double()
    weights = even + (1 - even) * cells / cells.mean() if cells.mean() > 0 else torch.ones_like(cells)
    weights = F.pad(weights[None], (edge,) * 4, mode="replicate")[0] + 1e-9  # nowhere 0 / 0
    places = (torch.arange(-edge, CELLS + edge).double() + 0.5) / CELLS
    down, across = (_kernel(size, places, sigma) for size in (height, width))
    total = down @ weights @ across.T
    u, v = down @ (weights * places) @ across.T, down @ (weights * places[:, None]) @ across.T
    return (torch.stack([u, v], dim=-1) / total[..., None]).clamp(0, 1).float()


def _kernel(size: int, places: Tensor, sigma: float) -> Tensor:
    """The Gaussian between `size` pixel centres and `places`: (size, len(places))."""
    centres = (torch.arange(size).double() + 0.5) / size
    return torch.exp(-((centres[:, None] - places) ** 2) / (2 * sigma**2))
