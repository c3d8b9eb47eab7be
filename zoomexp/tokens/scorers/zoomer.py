"""The Zoomer, frozen: the paper's scorer in stage 2."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.running import load_weights
from zoomexp.tokens.scorers.grid import patches_per_side, resized
from zoomexp.tokens.zoomer import Zoomer


class ZoomerScores(nn.Module):
    """Scores of a Zoomer that does not learn, always in eval mode.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches, and of those the Zoomer scores.
        in_chans: channels of the Zoomer's images; it takes grey ones as three equal channels.
        checkpoint: a stage-1 checkpoint, whose weights start with "model."; None: as initialised.
        blocks: basic blocks of the Zoomer, 2, 4 or 6.
        input_size: the Zoomer's own image side, a multiple of the patch: images are resized to it and its map to S x S.
            A smaller one is cheaper. None: `image_size`.

    Raises:
        InputError: sizes that do not fit, or a checkpoint that is missing or of another Zoomer.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        in_chans: int = 3,
        checkpoint: str | Path | None = None,
        blocks: int = 2,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        self.side = patches_per_side(image_size, patch_size)
        size = image_size if input_size is None else input_size
        self.zoomer, self.channels = Zoomer(blocks, size, patch_size=patch_size, in_chans=in_chans), in_chans
        load_weights(self.zoomer, checkpoint)
        self.zoomer.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "ZoomerScores":
        """Stays in eval mode: the norms keep the statistics of stage 1."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        size = self.zoomer.image_size
        if images.shape[-1] != size:
            smaller = images.float()  # antialiasing knows no bf16 on a CPU
            smaller = F.interpolate(smaller, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
            images = smaller.to(images.dtype)
        return resized(self.zoomer(images.expand(-1, self.channels, -1, -1)), self.side)
