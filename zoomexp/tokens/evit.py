"""EViT: patches that the class token does not look at become one token, in a few blocks.

"Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations" (Liang et al., ICLR 2022,
arXiv 2202.07800). In the blocks named, between attention and MLP, with N patch tokens before:

    a = attention of the class token to the patches, averaged over heads
    I = the ceil(keep_rate N) tokens with the largest a; they stay, the largest first
    x_fused = sum over the others of a_i x_i, one token, last

The weights a_i do not sum to 1, in the paper as in the released code. The fused token is a patch like any other in the
next block named. Where no patch is left over there is no fused token.

Deviations: on a host without a class token, a is the mean of the attention of all patches (the paper has none); the
keep rate is not annealed in training (the paper lowers it from 1 over the first epochs).
"""

from collections.abc import Sequence
from functools import partial

import torch
from timm.models import VisionTransformer
from torch import Tensor

from zoomexp.tokens import host
from zoomexp.tokens.moves import keep_places, rows_of
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import blocks, checked_rate, kept_of


def evit(
    vit: VisionTransformer, *, image_size: int, keep_rate: float = 0.7, locations: Sequence[int] = (3, 6, 9)
) -> ReducedViT:
    """A host that fuses inattentive tokens.

    Args:
        vit: the host.
        image_size: side of the images.
        keep_rate: share of the patch tokens that stay in each of the blocks, in (0, 1].
        locations: the blocks, counted from 0.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    return attentive(EViT, vit, image_size, keep_rate, locations)


def attentive(
    reducer: type, vit: VisionTransformer, image_size: int, rate: float, locations: Sequence[int]
) -> ReducedViT:
    """A host with a reducer that keeps a share of the patches in some blocks; arguments as for `evit`."""
    host.check_host(vit)
    make = partial(reducer, checked_rate(rate), blocks(locations, len(vit.blocks)), prefix=vit.num_prefix_tokens)
    return ReducedViT(vit, make, image_size=image_size)


def ranked(tokens: Ragged, context: Context, prefix: int) -> tuple[Tensor, Tensor]:
    """The patches by attention: its values (B, N), falling, and their places (B, N), the prefix counted."""
    attention = context.importance(prefix).view(tokens.dense().shape[:2])[:, prefix:]
    attention, order = attention.sort(dim=1, descending=True, stable=True)
    return attention, order + prefix


def with_prefix(places: Tensor, prefix: int) -> Tensor:
    """Places (B, K) with those of the prefix in front, (B, P + K)."""
    return torch.cat([torch.arange(prefix, device=places.device).expand(len(places), -1), places], 1)


class EViT:
    """The reducer of one forward."""

    log_sizes = sizes = None
    moves: list[Tensor]

    def __init__(self, rate: float, locations: Sequence[int], *, prefix: int) -> None:
        self.rate, self.locations, self.prefix, self.moves = rate, locations, prefix, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Nothing changes."""
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Keep the attentive patches, and fuse the others."""
        x = tokens.dense()
        count, width, _ = x.shape
        left = kept_of(width - self.prefix, self.rate)
        if i not in self.locations or left == width - self.prefix:
            return tokens
        attention, order = ranked(tokens, context, self.prefix)
        kept, moves = keep_places(tokens, with_prefix(order[:, :left], self.prefix))
        gone = rows_of(order[:, left:], width)
        others = tokens.values.index_select(0, gone).unflatten(0, (count, -1))
        fused = attention[:, None, left:].to(x.dtype) @ others
        self.moves.append(_into_last(moves, gone, count, self.prefix + left))
        return Ragged.from_dense(torch.cat([kept.dense(), fused], 1))


def _into_last(moves: Tensor, gone: Tensor, count: int, kept: int) -> Tensor:
    """The moves (T,) to `kept` tokens of each image, when one more follows them, made of the tokens in rows `gone`."""
    moves = moves + moves // kept  # each image before this one has one token more
    images = torch.arange(count, device=moves.device).repeat_interleave(len(gone) // count)
    return moves.index_copy(0, gone, images * (kept + 1) + kept)
