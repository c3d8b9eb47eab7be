"""The Zoomer, frozen: the paper's scorer in stage 2."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.tokens.regions import region
from zoomexp.tokens.scorers.grid import patches_per_side, resized
from zoomexp.tokens.zoomer import Zoomer
from zoomexp.weights.checkpoint import load_weights


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
        return resized(_scored(self.zoomer, images, self.channels), self.side)


@region
def _scored(zoomer: Zoomer, images: Tensor, channels: int) -> Tensor:
    """The Zoomer's map of images that are resized to its size."""
    size = zoomer.image_size
    if images.shape[-1] == 2 * size and torch.compiler.is_compiling():  # then one pass; as single operations many
        images = halved(images)
    elif images.shape[-1] != size:
        smaller = images.float()  # antialiasing knows no bf16 on a CPU
        smaller = F.interpolate(smaller, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        images = smaller.to(images.dtype)
    scores: Tensor = zoomer(images.expand(-1, channels, -1, -1))
    return scores


def halved(images: Tensor) -> Tensor:
    """Images (B, C, H, W) at half their size, bilinear with antialiasing, as `interpolate` does it.

    Each pixel is the mean of 4 x 4 with the weights 1, 3, 3, 1 along both sides, those outside of the image left out.
    Written as sums of slices it is one pass that a compiler can fuse with what comes after.
    """
    x = images.to(torch.promote_types(images.dtype, torch.float32))
    return _halved_along(_halved_along(x, 3), 2).to(images.dtype)


def _halved_along(x: Tensor, dim: int) -> Tensor:
    even, odd = x.unflatten(dim, (-1, 2)).unbind(dim + 1)
    count = even.shape[dim]
    before = torch.cat([torch.zeros_like(odd.narrow(dim, 0, 1)), odd.narrow(dim, 0, count - 1)], dim)
    after = torch.cat([even.narrow(dim, 1, count - 1), torch.zeros_like(even.narrow(dim, 0, 1))], dim)
    place = torch.arange(count, device=x.device)
    total = (8 - (place == 0).to(x.dtype) - (place == count - 1).to(x.dtype)).view(-1, *[1] * (3 - dim))
    half: Tensor = (3 * (even + odd) + before + after) / total
    return half
