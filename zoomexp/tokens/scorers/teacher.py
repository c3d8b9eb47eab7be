"""The teacher's own relevance maps, made with the true class: the oracle that a Zoomer is distilled from."""

from torch import Tensor, nn

from zoomexp.arguments import one_of
from zoomexp.errors import InputError
from zoomexp.relevance.normalisation import min_max
from zoomexp.tokens.scorers.grid import patches_per_side, resized


class TeacherMaps(nn.Module):
    """Gives back the maps it is given.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches. Maps of another grid are resized.
        scale: "min_max": each map is brought to [0, 1] by itself, as for the Zoomer's loss; "given": taken as it comes.

    Raises:
        InputError: an argument outside these ranges, or no maps.
    """

    needs_maps = True

    def __init__(self, *, image_size: int, patch_size: int, scale: str = "min_max") -> None:
        super().__init__()
        one_of("tokens.scorer.scale", scale, ("min_max", "given"))
        self.side, self.scale = patches_per_side(image_size, patch_size), scale

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Maps (B, S', S') to scores (B, S, S)."""
        if maps is None or maps.dim() != 3 or len(maps) != len(images):
            got = None if maps is None else tuple(maps.shape)
            raise InputError(
                f"tokens.scorer: the teacher needs a map (S, S) for each of {len(images)} images, got {got}"
            )
        maps = resized(maps.detach().float(), self.side)
        return min_max(maps) if self.scale == "min_max" else maps
