"""ATS: tokens sampled by how much they give to the class token; how many differ, is up to the image.

"Adaptive Token Sampling for Efficient Vision Transformers" (Fayyaz et al., ECCV 2022, arXiv 2111.15667). In the blocks
named, between attention and MLP, with patch tokens j = 1..N:

    S_j = A_cls,j |v_j| / sum_i A_cls,i |v_i|       A summed over heads, v_j the values of all heads
    C_j = S_1 + ... + S_j
    for k = 1..K: the token whose C_j is nearest to (2 k - 1) / (2 K) is sampled
    tokens sampled at least once stay, in their order

K at its default is the number of patches of the image, in every block: then a token of less than the average
significance may be passed over. Sampling is fixed, not random, in training too; no gradient flows through it.

Deviations from the released code: it sorts tokens by significance before it sums (`order="score"`), stretches C to
[0, 1], starts the K points at the first C, and keeps at least 8; all absent here, as they are in the paper. It keeps K
at 196 in blocks 3 to 11 of DeiT-S, the default here. On a host without a class token, A is the mean over all patches.
"""

from collections.abc import Sequence
from functools import partial

import torch
from timm.models import VisionTransformer
from torch import Tensor

from zoomexp.arguments import integer, one_of
from zoomexp.tokens import host
from zoomexp.tokens.moves import keep_where
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import blocks

ORDERS = ("place", "score")


def ats(
    vit: VisionTransformer,
    *,
    image_size: int,
    samples: int | None = None,
    locations: Sequence[int] | None = None,
    order: str = "place",
) -> ReducedViT:
    """A host that samples its tokens.

    Args:
        vit: the host.
        image_size: side of the images.
        samples: K, at least 1; None: as many as the image has patches.
        locations: the blocks, counted from 0; None: all from the fourth on.
        order: along which significance is summed, "place" or "score", the least significant first.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    depth = len(vit.blocks)
    locations = blocks(range(min(3, depth), depth) if locations is None else locations, depth)
    one_of("tokens.order", order, ORDERS)
    if samples is not None:
        integer("tokens.samples", samples)
    make = partial(ATS, samples, locations, prefix=vit.num_prefix_tokens, order=order)
    return ReducedViT(vit, make, image_size=image_size)


def sampled(scores: Tensor, counts: Tensor, samples: int) -> Tensor:
    """Which scores are sampled.

    Args:
        scores: (B, N), at least 0, those of each row summing to 1; what follows the first ones of a row is filling.
        counts: (B,) how many of each row are no filling.
        samples: K.

    Returns:
        (B, N) bool.

    Example:
        >>> sampled(torch.tensor([[0.5, 0.1, 0.4]]), torch.tensor([3]), 2)  # sums 0.5, 0.6, 1; points 0.25, 0.75
        tensor([[ True,  True, False]])
    """
    cumulated = scores.cumsum(1)
    points = (2 * torch.arange(samples, device=scores.device) + 1) / (2 * samples)
    points = points.to(scores.dtype).expand(len(scores), -1).contiguous()
    right = torch.minimum(torch.searchsorted(cumulated, points), counts[:, None] - 1)
    left = (right - 1).clamp(min=0)
    nearer_left = points - cumulated.gather(1, left) <= cumulated.gather(1, right) - points
    picked = torch.where(nearer_left, left, right)
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, picked, True)


class ATS:
    """The reducer of one forward."""

    log_sizes = sizes = None
    moves: list[Tensor]

    def __init__(self, samples: int | None, locations: Sequence[int], *, prefix: int, order: str = "place") -> None:
        self.samples, self.locations, self.prefix, self.order, self.moves = samples, locations, prefix, order, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Nothing changes."""
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Keep the sampled tokens."""
        if self.samples is None:  # the first block to be called has all patches
            self.samples = tokens.sizes[0] - self.prefix
        if i not in self.locations:
            return tokens
        tokens, moves = keep_where(tokens, *self._stay(tokens, context, self.samples))
        self.moves.append(moves)
        return tokens

    @torch.no_grad()
    def _stay(self, tokens: Ragged, context: Context, samples: int) -> tuple[Tensor, Tensor]:
        """Which tokens stay, (T,) bool, and how many of each image, (B,)."""
        scores, real = tokens.with_values(context.importance(self.prefix) * context.values_norm).padded()
        scores, counts = scores[:, self.prefix :], real.sum(1) - self.prefix
        scores = scores / scores.sum(1, keepdim=True)
        if self.order == "score":  # filling last
            scores, order = torch.where(real[:, self.prefix :], scores, torch.inf).sort(dim=1, stable=True)
            stay = torch.zeros_like(real[:, self.prefix :]).scatter(1, order, sampled(scores, counts, samples))
        else:
            stay = sampled(scores, counts, samples)
        stay = torch.cat([stay.new_ones(len(stay), self.prefix), stay], 1)
        return stay.flatten().index_select(0, tokens.padded_rows()), stay.sum(1)
