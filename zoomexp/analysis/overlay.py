"""Maps drawn on pictures. Pictures are (3, H, W) in [0, 1]; a map (h, w) covers its picture evenly.

Maps are enlarged bilinearly with the cells' centres kept in their place (align_corners=False). NaN in a map is what
the model did not see: dimmed in heat maps, outside every contour.
"""

import torch
from matplotlib import colormaps
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from zoomexp.errors import InputError

SIDE = 224  # pictures are enlarged to at least so many pixels, so that lines stay thin
SAME = 1e-5  # values that differ by less than this share of the largest are equal: interpolation rounds
GREEN = (0.0, 1.0, 0.0)
CYAN = (0.2, 1.0, 0.9)


def enlarged(picture: Tensor, least: int = SIDE) -> Tensor:
    """Repeat every pixel k x k times, with the smallest whole k that makes the shorter side at least `least`."""
    factor = -(-least // min(picture.shape[1:]))
    return picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def resized(heat: Tensor, height: int, width: int) -> Tensor:
    """Resize a map (h, w) to (height, width)."""
    if heat.shape == (height, width):
        return heat.float()
    return F.interpolate(heat[None, None].float(), size=(height, width), mode="bilinear", align_corners=False)[0, 0]


def stretched(heat: Tensor) -> Tensor:
    """Shift and scale a map (h, w) to 0..1; a flat one becomes 0. NaN stays NaN."""
    seen = heat[~heat.isnan()]
    return (heat - seen.min()) / (seen.max() - seen.min()) if not is_flat(heat) else heat * 0


def is_flat(heat: Tensor) -> bool:
    """Whether a map (h, w) has the same value everywhere."""
    seen = heat[~heat.isnan()]
    return bool(seen.max() - seen.min() <= SAME * seen.abs().max())


def heat_over(picture: Tensor, heat: Tensor, opacity: float = 0.7, colours: str = "turbo") -> Tensor:
    """Lay a map over a picture in colours: its highest value covers most, its lowest leaves the picture as it is.

    Args:
        picture: (3, H, W).
        heat: (h, w).
        opacity: Of the colour of the highest value, 0 to 1.
        colours: Name of a matplotlib colour map.
    """
    values = resized(stretched(heat), *picture.shape[1:])
    unseen = values.isnan()
    values = values.nan_to_num(0)
    painted = torch.from_numpy(colormaps[colours](values.numpy())[..., :3]).permute(2, 0, 1).float()
    return torch.where(unseen, 0.4 * picture, picture + opacity * values * (painted - picture))


def highest(heat: Tensor, share: float = 0.05) -> Tensor:
    """Where a map (h, w) is at least as high as its 1 - `share` quantile: (h, w) bool; NaN is never.

    Values equal to the quantile are all in, so a map with a plateau on top can give more than `share`.

    Raises:
        InputError: A share outside 0 < share < 1.
    """
    if not 0 < share < 1:
        raise InputError(f"share={share} is outside 0 < share < 1")
    ordered = heat[~heat.isnan()].flatten().sort(descending=True).values
    return heat >= ordered[max(1, round(share * len(ordered))) - 1] - SAME * ordered.abs().max()


def contour_over(
    picture: Tensor, heat: Tensor, share: float = 0.05, colour: tuple[float, float, float] = GREEN
) -> Tensor:
    """Outline the highest `share` of a map, as the Loupe paper does (arXiv 2508.16663).

    Deviation: the paper's code enlarges with a cubic filter. A flat map has no outline.

    Args:
        picture: (3, H, W).
        heat: (h, w).
        share: Of the picture's pixels.
        colour: Red, green, blue in [0, 1].
    """
    inside = highest(resized(heat, *picture.shape[1:]), share).numpy()
    width = max(1, min(picture.shape[1:]) // 112)
    kept = ndimage.binary_erosion(inside, ndimage.generate_binary_structure(2, 2), width, border_value=1)
    return painted_over(picture, torch.from_numpy(inside & ~kept), colour)


def grid_over(picture: Tensor, cells: int, colour: tuple[float, float, float] = CYAN, opacity: float = 0.6) -> Tensor:
    """Draw a regular grid of cells x cells on a picture (3, H, W)."""
    height, width = picture.shape[1:]
    row, col = ((torch.arange(size) + 0.5) * cells / size for size in (height, width))
    x, y = torch.meshgrid(col.floor(), row.floor(), indexing="xy")
    return painted_over(picture, borders(x) | borders(y), colour, opacity)


def borders(cell: Tensor) -> Tensor:
    """Where the cell numbers (H, W) differ from those of the pixel to the left or above: (H, W) bool."""
    edge = torch.zeros_like(cell, dtype=torch.bool)
    edge[1:] |= cell[1:] != cell[:-1]
    edge[:, 1:] |= cell[:, 1:] != cell[:, :-1]
    return edge


def painted_over(picture: Tensor, where: Tensor, colour: tuple[float, float, float], opacity: float = 1.0) -> Tensor:
    """Colour the pixels of a picture (3, H, W) that `where` (H, W) names."""
    paint = picture.new_tensor(colour)[:, None, None]
    return torch.where(where, (1 - opacity) * picture + opacity * paint, picture)
