"""PiToMe: of tokens that many others look like some are merged; those that stand alone are kept.

"Accelerating Transformers with Spectrum-Preserving Token Merging" (Tran et al., NeurIPS 2024, arXiv 2405.16148). In
block l of L, between attention and MLP, of an image's N patches with keys k, averaged over heads:

    s_ij = cos(k_i, k_j)
    E_i  = mean_j f(s_ij - m_l)        f(x) = x where x >= 0, else e^x - 1;  m_l = margin (1 - l / L)
    K    = floor(N - keep_rate N)      so many are merged

The tokens are sorted by energy E, highest first. In most blocks the first 2 K may merge: A = those at even places of
the sorted, B = those at odd places, each of A goes into the one of B that it is closest to. In a "bsm" block A and B
are of all tokens, and the K closest pairs merge, as in ToMe. Means are weighted by sizes. Order: prefix, others, B.

Paper and released code differ; the defaults are the code for DeiT, to which the numbers belong:

                                        margin   bsm_blocks   proportional
    paper                               0.9      none         true
    code for DeiT                       0.75     first        false (written, but never given the sizes)
    code for MAE                        0.75     last         false

Deviations: the code protects the class token alone; here all of the prefix. Where the host averages over tokens, each
counts as many times as it has patches (as the code for MAE does).
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from timm.models import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from zoomexp.arguments import boolean, finite, number, one_of
from zoomexp.tokens import host
from zoomexp.tokens.merging import Match
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.regions import region
from zoomexp.tokens.tome import ToMe

BSM = ("first", "last", "none", "all")


def pitome(
    vit: VisionTransformer,
    *,
    image_size: int,
    keep_rate: float = 0.925,
    margin: float = 0.75,
    bsm_blocks: str = "first",
    proportional: bool = False,
) -> ReducedViT:
    """A host that merges tokens by energy.

    Args:
        vit: the host.
        image_size: side of the images.
        keep_rate: share of the patches that each block leaves, in [0.5, 1].
        margin: similarity from which a neighbour counts in full, of the first block; it falls to 0 over the depth.
        bsm_blocks: which half of the blocks pairs all tokens: "first" (of an odd number the larger), "last", "none" or
            "all".
        proportional: whether attention counts a token as many times as it has patches.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    finite("tokens.keep_rate", keep_rate, lambda share: 0.5 <= share <= 1, "a number in [0.5, 1]")
    number("tokens.margin", margin, -1, 1)
    one_of("tokens.bsm_blocks", bsm_blocks, BSM)
    boolean("tokens.proportional", proportional)
    depth = len(vit.blocks)
    half = math.ceil(depth / 2)
    of_all = {"first": range(half), "last": range(half, depth), "none": (), "all": range(depth)}[bsm_blocks]
    margins = [margin - margin * (i / depth) for i in range(depth)]
    make = partial(PiToMe, keep_rate, margins, of_all, prefix=vit.num_prefix_tokens, proportional=proportional)
    return ReducedViT(vit, make, image_size=image_size)


class PiToMe(ToMe):
    """The reducer of one forward: ToMe's with other pairs."""

    def __init__(
        self, keep_rate: float, margins: list[float], of_all: Sequence[int], *, prefix: int, proportional: bool
    ) -> None:
        super().__init__((), prefix=prefix, proportional=proportional)
        self.keep_rate, self.margins, self.of_all = keep_rate, margins, of_all

    def matched(self, i: int, width: int, context: Context) -> Match | None:
        """The pairs of block i of images with `width` tokens."""
        patches = width - self.prefix
        count = math.floor(patches - patches * self.keep_rate)
        if not count:
            return None
        keys = context.keys.unflatten(0, (-1, width))[:, self.prefix :]
        pair = pairs_of_all if i in self.of_all else pairs_of_redundant
        return _behind(pair(keys, count, self.margins[i]), self.prefix)


def pairs_of_redundant(keys: Tensor, count: int, margin: float) -> Match:
    """Of the 2 count tokens (B, N, d) of the highest energy one half merged into the other.

    >>> pairs_of_redundant(torch.tensor([[[1.0, 0], [0, 1], [1, 0.1], [1, 0.2]]]), 1, 0.5)
    Match(source=tensor([[3]]), target=tensor([[2]]), stay=tensor([[0, 1, 2]]))
    """
    order, similarity = by_energy(keys, margin)
    source, into = order[:, : 2 * count : 2], order[:, 1 : 2 * count : 2]
    partner = between(similarity, source, into).argmax(2)
    return Match(source, into.gather(1, partner), torch.cat([order[:, 2 * count :], into], 1))


def pairs_of_all(keys: Tensor, count: int, margin: float) -> Match:
    """The `count` closest pairs of tokens (B, N, d) at even and odd places of the energies."""
    order, similarity = by_energy(keys, margin)
    even, odd = order[:, ::2], order[:, 1::2]
    best, partner = between(similarity, even, odd).max(2)
    edges = best.argsort(dim=1, descending=True, stable=True)
    source, others = even.gather(1, edges[:, :count]), even.gather(1, edges[:, count:])
    target = odd.gather(1, partner.gather(1, edges[:, :count]))
    return Match(source, target, torch.cat([others, odd], 1))


def by_energy(keys: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Places (B, N) of tokens (B, N, d), the highest energy first, and their similarity (B, N, N)."""
    with torch.no_grad():
        similarity, energy = _energy(keys, margin)
        return energy.argsort(dim=1, descending=True, stable=True), similarity


@region
def _energy(keys: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    keys = F.normalize(keys.float() if keys.dtype != torch.float64 else keys, dim=2)
    similarity = keys @ keys.mT
    return similarity, F.elu(similarity - margin).mean(2)


def between(similarity: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The similarity (B, N, N) of tokens at `rows` (B, n) with those at `columns` (B, m), (B, n, m)."""
    picked = similarity.gather(1, rows[:, :, None].expand(-1, -1, similarity.shape[2]))
    return picked.gather(2, columns[:, None].expand(-1, rows.shape[1], -1))


def _behind(found: Match, prefix: int) -> Match:
    """The same pairs where so many tokens stand in front, and stay."""
    source, target, stay = (places + prefix for places in found)
    front = torch.arange(prefix, device=stay.device).expand(len(stay), -1)
    return Match(source, target, torch.cat([front, stay], 1))
