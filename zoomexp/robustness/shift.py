"""How far a map moves when its image is changed, and where it points then."""

from collections.abc import Mapping

import torch
from torch import Tensor

from zoomexp.metrics.localisation import hits

FLAT = 1e-6  # spread below which a map has no shape to compare


def correlation(before: Tensor, after: Tensor) -> Tensor:
    """Pearson's correlation over the positions of two maps of each image.

    Args:
        before: (B, 1, H, W).
        after: (B, 1, H, W).

    Returns:
        (B,) in [-1, 1]; NaN where a map is flat.

    >>> one = torch.tensor([[[[0.0, 1.0]]]])
    >>> correlation(torch.cat([one, one, one]), torch.cat([one, 1 - one / 2, 0 * one]))
    tensor([ 1., -1., nan])
    """
    pair = [maps.detach().double().flatten(1) for maps in (before, after)]
    flat = torch.stack([(maps.amax(1) - maps.amin(1)) < FLAT for maps in pair]).any(0)
    a, b = (maps - maps.mean(1, keepdim=True) for maps in pair)
    found: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return found.masked_fill(flat, torch.nan).float()


def mean_correlation(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Tensor | None:
    """The same of several maps (B, 1, H, W) by name, mean over those that are not flat: (B,); None without maps."""
    found = [correlation(maps, after[name]) for name, maps in before.items()]
    return torch.stack(found).nanmean(0) if found else None


def pointing(maps: Mapping[str, Tensor], boxes: Tensor, side: tuple[int, int]) -> Tensor | None:
    """The pointing game of maps (B, 1, H, W) by name, mean over them: (B,) in [0, 1]; None without maps.

    Args:
        maps: At least 0.
        boxes: (B, 4), x0, y0, x1, y1 in pixels. An image whose box has no area has NaN.
        side: Height and width of the images in pixels.
    """
    if not maps:
        return None
    found = torch.stack([hits(one, boxes, side) for one in maps.values()]).mean(0)
    empty = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    return found.float().masked_fill(empty, torch.nan)
