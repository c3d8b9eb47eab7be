"""Mean length of the image's gradient in a patch (Sobel): edges and texture, whatever the class."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.relevance.normalisation import min_max
from zoomexp.tokens.scorers.grid import grey, patches_per_side

SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class GradientMagnitude(nn.Module):
    """Gradient length of the grey image, averaged per patch, to [0, 1] per image.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches.
    """

    kernels: Tensor

    def __init__(self, *, image_size: int, patch_size: int) -> None:
        super().__init__()
        patches_per_side(image_size, patch_size)
        self.patch_size = patch_size
        across = torch.tensor(SOBEL)
        self.register_buffer("kernels", torch.stack([across, across.T])[:, None], persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        padded = F.pad(grey(images)[:, None], (1, 1, 1, 1), mode="replicate")
        length = F.conv2d(padded, self.kernels).norm(dim=1, keepdim=True)
        return min_max(F.avg_pool2d(length, self.patch_size)[:, 0])
