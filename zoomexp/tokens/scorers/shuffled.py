"""Another scorer's scores at random places: zooming as much in every image, without looking."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.errors import InputError
from zoomexp.protocols import needs_boxes, needs_maps
from zoomexp.tokens.scorers.grid import built


class Shuffled(nn.Module):
    """The scores of each image, dealt out anew.

    They move in squares of 2 x 2 patches, which are cells at eta 0.5, so that at every threshold, and at either eta, an
    image has exactly as many tokens as with the other scorer. Where a side has an odd number of patches (eta 2) single
    ones move. Of images of any size the scores move after they were brought to the image's own grid (`rearranged`).

    In training the places are drawn from torch's global generator; in eval mode from a seeded one that every call of
    `eval()` starts again, and there they go by batch.

    Args:
        scorer: the other one, or what builds it (see `grid.built`).
        image_size: side of the images.
        patch_size: side of the host's patches.
        in_chans: channels of the images.
        seed: of eval mode, at least 0.

    Raises:
        InputError: a scorer that reads a teacher's maps or boxes: those are not to be had without looking.
    """

    def __init__(
        self,
        scorer: nn.Module | Callable[..., nn.Module],
        *,
        image_size: int,
        patch_size: int,
        in_chans: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        integer("tokens.scorer.seed", seed, 0)
        self.scorer = built(scorer, image_size=image_size, patch_size=patch_size, in_chans=in_chans)
        if needs_maps(self.scorer) or needs_boxes(self.scorer):
            kind = type(self.scorer).__name__
            raise InputError(f"tokens.scorer.scorer={kind}: reads more than the image; take another")
        self.seed, self.batches = seed, 0

    def train(self, mode: bool = True) -> "Shuffled":
        """Switch, and start the draws of eval mode again."""
        self.batches = 0
        return super().train(mode)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        return self.rearranged(self.scorer(images, maps))

    def rearranged(self, scores: Tensor) -> Tensor:
        """Scores (B, R, C) of images at random places of each."""
        batch, rows, columns = scores.shape
        side = 1 if rows % 2 or columns % 2 else 2
        squares = scores.unflatten(2, (columns // side, side)).unflatten(1, (rows // side, side)).transpose(2, 3)
        flat = squares.flatten(3).flatten(1, 2)  # (B, squares, side * side)
        places = self._draw(batch, flat.shape[1]).to(scores.device).argsort(1)
        moved = flat.gather(1, places[:, :, None].expand_as(flat)).unflatten(2, (side, side))
        placed: Tensor = moved.unflatten(1, (rows // side, columns // side)).transpose(2, 3)
        return placed.reshape(batch, rows, columns)

    def _draw(self, *shape: int) -> Tensor:
        if self.training:
            return torch.rand(*shape)
        self.batches += 1
        return torch.rand(*shape, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + self.batches))
