"""Fewer tokens, and where the old ones went.

A reduction step is told by its moves: for each of the T old tokens its row among the T' new ones, -1 if it was dropped.
Several old tokens with one new row were merged. Steps follow one another: `followed` tells where the first tokens
are after the last step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoomexp.tokens.ragged import Ragged


class Step(NamedTuple):
    """Tokens after a reduction, and `moves` (T,) int64 from those before."""

    tokens: Ragged
    moves: Tensor


def rows_of(places: Tensor, width: int) -> Tensor:
    """Places (B, K) in sequences of one width, as rows (B K,) of the concatenated tokens.

    >>> rows_of(torch.tensor([[0, 2], [0, 1]]), 3).tolist()
    [0, 2, 3, 4]
    """
    return (places + torch.arange(len(places), device=places.device)[:, None] * width).flatten()


def keep(tokens: Ragged, rows: Tensor, lengths: Tensor) -> Step:
    """Drop all tokens but those in `rows` (T',), given image by image, `lengths` (B,) of each."""
    moves = rows.new_full((len(tokens.values),), -1).index_copy(0, rows, torch.arange(len(rows), device=rows.device))
    return Step(tokens.take(rows, lengths), moves)


def keep_where(tokens: Ragged, stay: Tensor, lengths: Tensor) -> Step:
    """Drop all tokens but those that `stay` (T,) bool, `lengths` (B,) of each image; waits for the device once."""
    return Step(tokens.where(stay, lengths)[0], torch.where(stay, stay.cumsum(0) - 1, -1))


def keep_places(tokens: Ragged, places: Tensor) -> Step:
    """Drop all tokens but those at `places` (B, K) of images with equally many tokens."""
    count, kept = places.shape
    return keep(tokens, rows_of(places, tokens.dense().shape[1]), torch.full((count,), kept))


def followed(steps: Sequence[Tensor], tokens: int, device: torch.device | None = None) -> Tensor:
    """(T0,) int64: the row in which each of the first T0 tokens is after all steps, -1 where it was dropped.

    `device` is that of the steps, which may be none.

    >>> followed([torch.tensor([0, -1, 1]), torch.tensor([0, 0])], 3).tolist()
    [0, -1, 0]
    """
    rows = torch.arange(tokens, device=device)
    for moves in steps:
        rows = torch.where(rows < 0, rows, moves[rows.clamp(min=0)])
    return rows
