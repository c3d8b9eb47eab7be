"""Another scorer upside down: zooming where it says that nothing is."""

from collections.abc import Callable

from torch import Tensor, nn

from zoomexp import protocols
from zoomexp.tokens.scorers.grid import built


class Inverted(nn.Module):
    """1 - score.

    Args:
        scorer: the other one, or what builds it (see `grid.built`).
        image_size: side of the images.
        patch_size: side of the host's patches.
        in_chans: channels of the images.
    """

    def __init__(
        self, scorer: nn.Module | Callable[..., nn.Module], *, image_size: int, patch_size: int, in_chans: int = 3
    ) -> None:
        super().__init__()
        self.scorer = built(scorer, image_size=image_size, patch_size=patch_size, in_chans=in_chans)
        self.needs_maps = protocols.needs_maps(self.scorer)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        scores: Tensor = 1 - self.scorer(images, maps)
        return scores
