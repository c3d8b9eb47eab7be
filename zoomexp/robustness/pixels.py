"""A network as an attacker sees it: it takes pixels in [0, 1] and normalises them itself."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Pixels(nn.Module):
    """`net` of normalised pixels, so that a distance between images is one between pixels.

    Args:
        net: Takes normalised images (B, C, H, W), gives logits (B, K).
        mean: Of each channel, or one for all.
        std: The same.

    >>> Pixels(nn.Identity(), [0.5], [0.25])(torch.ones(1, 1, 1, 1))
    tensor([[[[2.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        for name, values in {"mean": mean, "std": std}.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, C, H, W) in [0, 1] to logits (B, K)."""
        logits: Tensor = self.net((pixels - self.mean) / self.std)
        return logits

    def of(self, images: Tensor) -> Tensor:
        """The pixels in [0, 1] of normalised images, (B, C, H, W) both; float32."""
        return (images.float() * self.std + self.mean).clamp(0, 1)

    def says(self, pixels: Tensor, batch: int = 500) -> Tensor:
        """The likeliest class of each image (B,), `batch` images at a time."""
        with torch.no_grad():
            return torch.cat([self(part).argmax(1) for part in pixels.split(batch)])
