"""DiffRate: the least attended tokens are dropped, the next ones merged, as many as was learnt for each block.

"DiffRate: Differentiable Compression Rate for Efficient Vision Transformers" (Chen et al., ICCV 2023, arXiv
2305.17997). Here are the blocks it ends with; how many tokens to keep, which it learns without touching the weights, is
given. In block i, between attention and MLP:

    tokens in the order of the class token's attention, averaged over heads
    all but the first p_i are dropped
    all but the first m_i are merged, each into the one of the first m_i that it is closest to, by cos(x_i, x_j)
    x_j = plain mean of x_j and what is merged into it;  s_j = s_j + sum s_i max(cos(x_i, x_j), 0)

and attention is softmax(q k' / sqrt(d) + log s). Prefix tokens are neither dropped nor merged into; p_i and m_i
count them. Numbers come as {"prune_kept_num": [p_0, ...], "merge_kept_num": [m_0, ...]}, under the released names,
from a JSON file or as they are, or drop by the same amounts in every block but the first, which the paper leaves
alone.

Deviations: a negative similarity counts as 0, where the released code would take the logarithm of what it makes of the
size; on a host without a class token the mean of the attention of all patches orders them.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from zoomexp.arguments import integer
from zoomexp.errors import InputError
from zoomexp.tokens import merging
from zoomexp.tokens.evit import ranked, with_prefix
from zoomexp.tokens.moves import keep_places
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT, patches_per_side
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.regions import region

KEYS = ("prune_kept_num", "merge_kept_num")


def diffrate(
    vit: VisionTransformer,
    *,
    image_size: int,
    rates: str | Mapping[str, list[int]] | None = None,
    prune: int = 7,
    merge: int = 7,
) -> ReducedViT:
    """A host that drops and merges given numbers of tokens.

    Args:
        vit: the host.
        image_size: side of the images.
        rates: the numbers to keep in each block, or a JSON file with them; None for the same amounts in all.
        prune: tokens dropped in each block but the first, at least 0, where there are no rates.
        merge: tokens merged, likewise.

    Raises:
        InputError: an argument outside these ranges, a file that cannot be read, or a host that cannot be run.
    """
    integer("tokens.prune", prune, 0)
    integer("tokens.merge", merge, 0)
    tokens, depth = patches_per_side(vit, image_size) ** 2 + vit.num_prefix_tokens, len(vit.blocks)
    least = vit.num_prefix_tokens + 1
    kept = uniform(tokens, depth, prune, merge, least) if rates is None else _given(rates, depth, least)
    return ReducedViT(vit, partial(DiffRate, *kept, prefix=vit.num_prefix_tokens), image_size=image_size)


def uniform(tokens: int, depth: int, prune: int, merge: int, least: int) -> tuple[list[int], list[int]]:
    """Tokens to keep in each block after dropping, and after merging, but always `least`.

    >>> uniform(17, 4, 2, 3, 2)
    ([17, 15, 10, 5], [17, 12, 7, 2])
    """
    left = [tokens - i * (prune + merge) for i in range(depth)]
    after_pruning = [tokens, *(before - prune for before in left[:-1])]
    return [max(n, least) for n in after_pruning], [max(n, least) for n in left]


class DiffRate:
    """The reducer of one forward; `prune` and `merge` are numbers of tokens to keep."""

    log_sizes: Tensor | None
    sizes: Tensor | None
    moves: list[Tensor]

    def __init__(self, prune: Sequence[int], merge: Sequence[int], *, prefix: int) -> None:
        self.prune, self.merge, self.prefix = prune, merge, prefix
        self.log_sizes, self.sizes, self.moves = None, None, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Nothing changes."""
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Drop, then merge."""
        pruned = min(tokens.sizes[0], self.prune[i])
        merged = min(pruned, self.merge[i])
        if merged == tokens.sizes[0]:
            return tokens
        places = with_prefix(ranked(tokens, context, self.prefix)[1], self.prefix)[:, :pruned]
        tokens, moves = keep_places(tokens, places)
        self.moves.append(moves)
        if self.sizes is not None:
            self.sizes = self.sizes.view(len(places), -1).gather(1, places).flatten()
            self.log_sizes = self.sizes.log()
        return tokens if merged == pruned else self._merged(tokens, merged)

    def _merged(self, tokens: Ragged, left: int) -> Ragged:
        """The tokens after the first `left` of each image merged into these."""
        x = tokens.dense()
        found, similarity = closest(x, left, self.prefix)
        merge, ones = merging.merge_of(found), x.new_ones(len(tokens.values), dtype=torch.float32)
        sizes = (ones if self.sizes is None else self.sizes).view(x.shape[:2])
        sizes = torch.cat([sizes[:, :left], sizes[:, left:] * similarity], 1)
        values, _ = merging.mean(tokens.values, ones, merge)
        self.moves.append(merge.moves)
        self.sizes = merging.sums(sizes.flatten(), merge)
        self.log_sizes = self.sizes.log()
        return merging.after(tokens, values)


@region
def closest(x: Tensor, left: int, prefix: int) -> tuple[merging.Match, Tensor]:
    """Match the tokens of x (B, N, D) after the first `left` to these but the prefix, and how close they are.

    Returns:
        The match, and similarities (B, N - left) in [0, 1].
    """
    with torch.no_grad():
        directions = F.normalize(x.float(), dim=2)
        scores = directions[:, left:] @ directions[:, prefix:left].mT
        similarity, target = scores.max(2)
        places = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        return merging.Match(places[:, left:], target + prefix, places[:, :left]), similarity.clamp(0, 1)


def _given(rates: str | Mapping[str, list[int]], depth: int, least: int) -> list[list[int]]:
    try:
        numbers = json.loads(Path(rates).read_text()) if isinstance(rates, str) else rates
    except (OSError, ValueError) as error:
        raise InputError(f"tokens.rates={rates}: must be a JSON file: {error}") from error
    wanted = f"{' and '.join(KEYS)}, each a list of {depth} whole numbers of at least {least}"
    lists: list[Any] = [numbers.get(key) for key in KEYS] if isinstance(numbers, Mapping) else []
    if not lists or not all(_fits(kept, depth, least) for kept in lists):
        raise InputError(f"tokens.rates={rates}: must hold {wanted}")
    return lists


def _fits(kept: object, depth: int, least: int) -> bool:
    return isinstance(kept, list) and len(kept) == depth and all(type(n) is int and n >= least for n in kept)
