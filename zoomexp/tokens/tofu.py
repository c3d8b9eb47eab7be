"""ToFu: of tokens that look alike one is dropped in early blocks; in late ones they are merged, and keep their norm.

"Token Fusion: Bridging the Gap between Token Pruning and Token Merging" (Kim et al., WACV 2024, arXiv 2312.01026). Each
block finds r pairs as ToMe does (see `merging`), between attention and MLP. Then

    blocks 0 .. prune_blocks - 1   the token of A is dropped, that of B stays as it is
    later blocks, MLERP            m = mean of the merged tokens x_1 .. x_n;  x = m / |m| max_k |x_k|

A plain mean of vectors that are not parallel is shorter than they are; early blocks, less linear than late ones, do
not bear means at all.

Deviations: there is no official code, and only the abstract and accounts of the paper could be read. Ours are:
dropping in the first half of the blocks; the mean weighted by sizes, as in ToMe; the size of a dropped token lost.
"""

from collections.abc import Sequence
from functools import partial

import torch
from timm.models import VisionTransformer
from torch import Tensor

from zoomexp.arguments import boolean, integer
from zoomexp.tokens import host, merging
from zoomexp.tokens.moves import keep_places
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import per_block


def tofu(
    vit: VisionTransformer,
    *,
    image_size: int,
    r: int | Sequence[int] = 13,
    prune_blocks: int | None = None,
    proportional: bool = True,
) -> ReducedViT:
    """A host that drops tokens early and merges them late.

    Args:
        vit: the host.
        image_size: side of the images.
        r: tokens that go in each block, at least 0; one number, or one per block.
        prune_blocks: how many of the first blocks drop, 0 to all; None: half of them.
        proportional: whether attention counts a token as many times as it has patches.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    depth = len(vit.blocks)
    prune_blocks = depth // 2 if prune_blocks is None else prune_blocks
    integer("tokens.prune_blocks", prune_blocks, 0, depth)
    boolean("tokens.proportional", proportional)
    r = per_block("tokens.r", r, depth)
    make = partial(ToFu, r, prune_blocks, prefix=vit.num_prefix_tokens, proportional=proportional)
    return ReducedViT(vit, make, image_size=image_size)


def mlerp(x: Tensor, sizes: Tensor, merge: merging.Merge) -> tuple[Tensor, Tensor]:
    """Tokens x (T, D) of `sizes` (T,) merged (T', D), as long as the longest of each set, and the new sizes (T',).

    >>> two_into_one = merging.Merge(torch.tensor([0, 0]), torch.tensor([0]), torch.tensor([1]))
    >>> mlerp(torch.tensor([[5.0, 0.0], [0.0, 5.0]]), torch.ones(2), two_into_one)[0]
    tensor([[3.5355, 3.5355]])
    """
    average, new_sizes = merging.mean(x, sizes, merge)
    norms = torch.linalg.vector_norm(x.float(), dim=1)
    longest = norms.new_zeros(len(average)).scatter_reduce(0, merge.moves, norms, "amax")
    scale = longest / torch.linalg.vector_norm(average.float(), dim=1).clamp(min=1e-12)
    return average * scale.to(x.dtype)[:, None], new_sizes


class ToFu:
    """The reducer of one forward."""

    log_sizes: Tensor | None
    sizes: Tensor | None
    moves: list[Tensor]

    def __init__(self, r: Sequence[int], prune_blocks: int, *, prefix: int, proportional: bool = True) -> None:
        self.r, self.prune_blocks, self.prefix, self.proportional = r, prune_blocks, prefix, proportional
        self.log_sizes, self.sizes, self.moves = None, None, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Nothing changes."""
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Drop or merge r_i tokens of each image."""
        x = tokens.dense()
        r = min(self.r[i], (x.shape[1] - self.prefix) // 2)
        if not r:
            return tokens
        found = merging.match(context.keys.unflatten(0, x.shape[:2]), r, self.prefix)
        if i < self.prune_blocks:  # no token has been merged yet: all sizes are 1
            tokens, moves = keep_places(tokens, found.stay)
            self.moves.append(moves)
            return tokens
        return self._merged(tokens, merging.merge_of(found))

    def _merged(self, tokens: Ragged, merge: merging.Merge) -> Ragged:
        sizes = tokens.values.new_ones(len(tokens.values), dtype=torch.float32) if self.sizes is None else self.sizes
        values, self.sizes = mlerp(tokens.values, sizes, merge)
        self.moves.append(merge.moves)
        self.log_sizes = self.sizes.log() if self.proportional else None
        return merging.after(tokens, values)
