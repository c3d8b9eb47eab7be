"""The same score everywhere: with a threshold all or nothing is zoomed, with a budget the first cells are."""

from torch import Tensor, nn

from zoomexp.tokens.scorers.grid import patches_per_side


class Uniform(nn.Module):
    """0.5 for every patch.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches.
    """

    def __init__(self, *, image_size: int, patch_size: int) -> None:
        super().__init__()
        self.side = patches_per_side(image_size, patch_size)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        return images.new_full((len(images), self.side, self.side), 0.5)
