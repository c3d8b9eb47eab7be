"""Scores drawn from [0, 1), anew for every batch: zooming without looking."""

import torch
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.tokens.scorers.grid import patches_per_side


class Random(nn.Module):
    """Uniform scores.

    In training from torch's global generator, as all of a run's random numbers. In eval mode from a seeded one that
    every call of `eval()` starts again, so that a test can be repeated; there the draws go by batch, so an image's
    scores depend on when it comes.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches.
        seed: of eval mode, at least 0.
    """

    def __init__(self, *, image_size: int, patch_size: int, seed: int = 0) -> None:
        super().__init__()
        integer("tokens.scorer.seed", seed, 0)
        self.side, self.seed, self.batches = patches_per_side(image_size, patch_size), seed, 0

    def train(self, mode: bool = True) -> "Random":
        """Switch, and start the draws of eval mode again."""
        self.batches = 0
        return super().train(mode)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        generator = None
        if not self.training:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.batches)
            self.batches += 1
        return torch.rand(len(images), self.side, self.side, generator=generator).to(images.device)
