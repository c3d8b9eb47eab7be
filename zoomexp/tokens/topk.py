"""Top-k: patches that the class token does not look at are dropped, in a few blocks.

The baseline of "Which Tokens to Use? Investigating Token Reduction in Vision Transformers" (Haurum et al., ICCV 2023
workshops, arXiv 2308.04657), which is EViT (see `evit`) without the fused token. In the blocks named, between attention
and MLP, the ceil(keep_rate N) of N patch tokens that the class token attends to most stay, the largest first.

Deviations: numbers are rounded as EViT's, up and in each block from what the one before left (138, 97, 68 of 196 at
0.7); the paper's framework rounds N keep_rate^i down (137, 96, 67). On a host without a class token, the mean of the
attention of all patches ranks them (the paper has none).
"""

from collections.abc import Sequence

from timm.models import VisionTransformer
from torch import Tensor

from zoomexp.tokens.evit import attentive, ranked, with_prefix
from zoomexp.tokens.moves import keep_places
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import kept_of


def topk(
    vit: VisionTransformer, *, image_size: int, keep_rate: float = 0.7, locations: Sequence[int] = (3, 6, 9)
) -> ReducedViT:
    """A host that drops inattentive tokens.

    Args:
        vit: the host.
        image_size: side of the images.
        keep_rate: share of the patch tokens that stay in each of the blocks, in (0, 1].
        locations: the blocks, counted from 0.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    return attentive(TopK, vit, image_size, keep_rate, locations)


class TopK:
    """The reducer of one forward."""

    log_sizes = sizes = None
    moves: list[Tensor]

    def __init__(self, rate: float, locations: Sequence[int], *, prefix: int) -> None:
        self.rate, self.locations, self.prefix, self.moves = rate, locations, prefix, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Nothing changes."""
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Keep the attentive patches."""
        patches = tokens.sizes[0] - self.prefix
        left = kept_of(patches, self.rate)
        if i not in self.locations or left == patches:
            return tokens
        _, order = ranked(tokens, context, self.prefix)
        tokens, moves = keep_places(tokens, with_prefix(order[:, :left], self.prefix))
        self.moves.append(moves)
        return tokens
