"""Bipartite soft matching and the merging of tokens, of "Token Merging: Your ViT But Faster" (arXiv 2210.09461).

Matching of the tokens of an image, by vectors k (keys, averaged over heads):

    A = tokens at even places, B = tokens at odd places; tokens of the prefix take no part
    best_i = max_j cos(k_i, k_j) for i in A, j in B; each i has one edge, to that j
    the r edges with the largest best_i stay: i is merged into j

Merging with sizes s, how many patches a token stands for: x_j = (s_j x_j + sum s_i x_i) / (s_j + sum s_i). What is
left stands in this order: prefix, A without the merged, B.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomexp.tokens.moves import rows_of
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.regions import region


class Match(NamedTuple):
    """Places in sequences of one width.

    `source` (B, r): tokens that are merged, the closest pair first; `target` (B, r): into what; `stay` (B, N - r): all
    other tokens, in their new order.
    """

    source: Tensor
    target: Tensor
    stay: Tensor


class Merge(NamedTuple):
    """Sets of tokens: `moves` (T,) int64, the row each goes to; `stay` (T',) and `source` (T - T',), rows before."""

    moves: Tensor
    stay: Tensor
    source: Tensor


@region
def match(keys: Tensor, r: int, prefix: int) -> Match:
    """Pair the tokens of each image.

    Args:
        keys: (B, N, d).
        r: how many are merged, in 1..(N - prefix) // 2.
        prefix: how many in front stay as they are.

    Example:
        >>> match(torch.tensor([[[9.0, 9], [1, 0], [0, 1], [1, 9], [5, 0]]]), 1, 1)
        Match(source=tensor([[4]]), target=tensor([[1]]), stay=tensor([[0, 2, 1, 3]]))
    """
    with torch.no_grad():
        keys = F.normalize(keys.float(), dim=2)
        scores = keys[:, ::2] @ keys[:, 1::2].mT
        scores[:, : (prefix + 1) // 2] = -torch.inf
        scores[:, :, : prefix // 2] = -torch.inf
        best, partner = scores.max(2)
        order = best.argsort(dim=1, descending=True, stable=True)
        source, target = 2 * order[:, :r], 2 * partner.gather(1, order[:, :r]) + 1
        return Match(source, target, _remaining(order[:, r:].sort(1).values * 2, keys.shape[1], prefix))


@region
def merge_of(found: Match) -> Merge:
    """The same on the concatenated tokens of the batch."""
    (count, left), width = found.stay.shape, found.stay.shape[1] + found.source.shape[1]
    new = torch.arange(left, device=found.stay.device).expand(count, -1)
    places = found.stay.new_empty(count, width).scatter_(1, found.stay, new)
    places.scatter_(1, found.source, places.gather(1, found.target))
    return Merge(rows_of(places, left), rows_of(found.stay, width), rows_of(found.source, width))


def mean(x: Tensor, sizes: Tensor, merge: Merge) -> tuple[Tensor, Tensor]:
    """Tokens x (T, D) of `sizes` (T,) merged to their weighted means (T', D), and the new sizes (T',)."""
    new_sizes = sums(sizes, merge)
    stay, gone = _weighted(x, sizes, new_sizes, merge)
    return stay.index_add_(0, merge.moves.index_select(0, merge.source), gone), new_sizes


@region
def _weighted(x: Tensor, sizes: Tensor, new_sizes: Tensor, merge: Merge) -> tuple[Tensor, Tensor]:
    """The tokens that stay (T', D) and the others (T - T', D), each times its share of what it will be in."""
    weights = (sizes / new_sizes.index_select(0, merge.moves)).to(x.dtype)[:, None]
    stay, gone = (x.index_select(0, rows) * weights.index_select(0, rows) for rows in merge[1:])
    return stay, gone


def sums(sizes: Tensor, merge: Merge) -> Tensor:
    """The sizes (T',) of merged tokens, from those before (T,)."""
    stay, gone = (sizes.index_select(0, rows) for rows in merge[1:])
    return stay.index_add_(0, merge.moves.index_select(0, merge.source), gone)


def after(tokens: Ragged, values: Tensor) -> Ragged:
    """Merged values (T', D) as equally many tokens of each image."""
    return Ragged.from_dense(values.unflatten(0, (len(tokens.lengths), -1)))


def _remaining(even: Tensor, width: int, prefix: int) -> Tensor:
    """Prefix, the even places that stay (among them those of the prefix, in front), the odd places."""
    first, odd = torch.arange(prefix, device=even.device), torch.arange(1, width, 2, device=even.device)[prefix // 2 :]
    first, odd = (x.expand(len(even), -1) for x in (first, odd))
    return torch.cat([first, even[:, (prefix + 1) // 2 :], odd], 1)
