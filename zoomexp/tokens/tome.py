"""ToMe: tokens that look alike to attention are merged, a few in every block.

"Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023, arXiv 2210.09461). In block i, between attention and MLP:

    k = keys of the block, averaged over heads
    r_i tokens of A are merged into those of B that they are closest to (see `merging`), at most half of the patches
    attention of the blocks that follow: softmax(q k' / sqrt(d) + log s), s the number of patches in a token

r_i is the same in every block, or given for each. Tokens of the prefix (class token and the like) are never merged.

Deviations: hosts with registers, which the paper does not have, protect them too; where the host averages over tokens,
each counts as many times as it has patches (so does the released code for MAE, not for other hosts).
"""

from collections.abc import Sequence
from functools import partial

import torch
from timm.models import VisionTransformer
from torch import Tensor

from zoomexp.arguments import boolean
from zoomexp.tokens import host, merging
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import per_block


def tome(
    vit: VisionTransformer, *, image_size: int, r: int | Sequence[int] = 13, proportional: bool = True
) -> ReducedViT:
    """A host that merges tokens.

    Args:
        vit: the host.
        image_size: side of the images.
        r: tokens merged in each block, at least 0; one number, or one per block.
        proportional: whether attention counts a token as many times as it has patches.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    boolean("tokens.proportional", proportional)
    r = per_block("tokens.r", r, len(vit.blocks))
    make = partial(ToMe, r, prefix=vit.num_prefix_tokens, proportional=proportional)
    return ReducedViT(vit, make, image_size=image_size)


class ToMe:
    """The reducer of one forward."""

    log_sizes: Tensor | None
    sizes: Tensor | None
    moves: list[Tensor]

    def __init__(self, r: Sequence[int], *, prefix: int, proportional: bool = True) -> None:
        self.r, self.prefix, self.proportional = r, prefix, proportional
        self.log_sizes, self.sizes, self.moves = None, None, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Nothing changes."""
        return tokens

    def matched(self, i: int, width: int, context: Context) -> merging.Match | None:
        """The r_i pairs of block i of images with `width` tokens, if there are any to merge."""
        r = min(self.r[i], (width - self.prefix) // 2)
        return merging.match(context.keys.unflatten(0, (-1, width)), r, self.prefix) if r else None

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Merge r_i tokens of each image."""
        x = tokens.dense()
        found = self.matched(i, x.shape[1], context)
        if found is None:
            return tokens
        merge = merging.merge_of(found)
        sizes = x.new_ones(len(tokens.values), dtype=torch.float32) if self.sizes is None else self.sizes
        values, self.sizes = merging.mean(tokens.values, sizes, merge)
        self.moves.append(merge.moves)
        self.log_sizes = self.sizes.log() if self.proportional else None
        return merging.after(tokens, values)
