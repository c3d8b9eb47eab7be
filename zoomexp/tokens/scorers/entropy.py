"""Shannon entropy of a patch's grey levels: how much it holds, whatever the class."""

import math

import torch
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.tokens.scorers.grid import grey, patches_per_side


def patch_entropy(images: Tensor, side: int, bins: int) -> Tensor:
    """Entropy of the histogram of each patch.

    Args:
        images: (B, C, H, H); made grey, and brought to [0, 1] per image.
        side: patches a side.
        bins: equal intervals of [0, 1] that grey levels fall into.

    Returns:
        (B, side, side), -sum p log p / log bins, in [0, 1].
    """
    size = images.shape[-1] // side
    level = (grey(images) * bins).long().clamp(max=bins - 1)
    level = level.unflatten(2, (side, size)).unflatten(1, (side, size)).transpose(2, 3).flatten(3)  # (B, S, S, pixels)
    counts = torch.zeros(*level.shape[:3], bins, device=level.device)
    share = counts.scatter_add_(3, level, torch.ones_like(level, dtype=counts.dtype)) / size**2
    entropy: Tensor = -torch.special.xlogy(share, share).sum(3) / math.log(bins)
    return entropy


class Entropy(nn.Module):
    """Patch entropy as score.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches.
        bins: grey levels, at least 2.
    """

    def __init__(self, *, image_size: int, patch_size: int, bins: int = 32) -> None:
        super().__init__()
        integer("tokens.scorer.bins", bins, 2)
        self.side, self.bins = patches_per_side(image_size, patch_size), bins

    @torch.no_grad()
    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        return patch_entropy(images, self.side, self.bins).clamp(0, 1)
