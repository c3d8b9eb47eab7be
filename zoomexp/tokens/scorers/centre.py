"""The centre of the image, whatever it shows: 1 at the patches nearest to it, 0 at the corners."""

import torch
from torch import Tensor, nn

from zoomexp.relevance.normalisation import min_max
from zoomexp.tokens.scorers.grid import patches_per_side


class Centre(nn.Module):
    """Falls linearly with the distance from the centre.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches.
    """

    map: Tensor

    def __init__(self, *, image_size: int, patch_size: int) -> None:
        super().__init__()
        side = patches_per_side(image_size, patch_size)
        steps = torch.arange(side) - (side - 1) / 2
        distance = torch.hypot(steps[:, None], steps[None])
        self.register_buffer("map", min_max(-distance[None]), persistent=False)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        return self.map.expand(len(images), -1, -1)
