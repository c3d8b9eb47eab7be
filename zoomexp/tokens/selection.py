"""Which patches of an image become tokens, and in which order.

Rules, for a threshold alpha in [0, 1]:

    cell    a cell is zoomed where its score >= alpha; then all four fine patches stand for it. Nothing is left out.
    paper   fine patches with score > alpha, coarse ones with score < alpha (the released code): a tie is left out, and
            at eta = 0.5 so are the low-scoring fine patches of a zoomed cell

or, instead of a threshold, a budget: the k cells of highest score are zoomed, equal scores in the order of the cells.
Fine tokens come first, then coarse ones, each by score, highest first; equal scores stay in the order of candidates.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from zoomexp.tokens.cells import CellScores

COVERAGES = ("cell", "paper")


class Kept(NamedTuple):
    """What stays, bool: `coarse` (B, n), `fine` (B, n, 4)."""

    coarse: Tensor
    fine: Tensor

    def lengths(self) -> Tensor:
        """(B,) int64: how many tokens that are."""
        return self.coarse.sum(1) + self.fine.sum((1, 2))


@dataclass(frozen=True, eq=False)
class Selection:
    """Token sequences as numbers of candidates (see `cells`).

    Args:
        order: (B, 5 n) int64, the candidates of each image, those kept first and in their order.
        lengths: (B,) int64, how many are kept; on the CPU where they are known beforehand.
        zoomed: (B,) int64, how many of these, the first, are fine.
    """

    order: Tensor
    lengths: Tensor
    zoomed: Tensor

    def on_host(self) -> "Selection":
        """The same with both counts on the CPU: where they are on a device, the one time it is waited for."""
        if self.lengths.device.type == self.zoomed.device.type == "cpu":
            return self
        lengths, zoomed = torch.stack([self.lengths, self.zoomed]).cpu()
        return replace(self, lengths=lengths, zoomed=zoomed)

    def fixed(self) -> tuple[int, int] | None:
        """Length and fine tokens of every image, where these are on the CPU and the same for all."""
        if self.lengths.device.type != "cpu" or self.zoomed.device.type != "cpu":
            return None
        counts = {*zip(self.lengths.tolist(), self.zoomed.tolist(), strict=True)}
        return counts.pop() if len(counts) == 1 else None


def keep_above(scores: CellScores, alpha: float, coverage: str) -> Kept:
    """What a threshold keeps; `coverage` is "cell" or "paper"."""
    if coverage == "paper":
        return Kept(scores.coarse < alpha, scores.fine > alpha)
    return _whole_cells(scores.coarse >= alpha)


def keep_best(scores: CellScores, budget: int) -> Kept:
    """What remains when the `budget` best cells of every image are zoomed."""
    best = scores.coarse.argsort(dim=1, descending=True, stable=True)[:, :budget]
    return _whole_cells(torch.zeros_like(scores.coarse, dtype=torch.bool).scatter_(1, best, True))


def in_sequence(scores: CellScores, kept: Kept) -> Selection:
    """Put what is kept in order."""
    values = torch.cat([scores.fine.flatten(1), scores.coarse], 1)
    groups = torch.cat([2 * kept.fine.flatten(1).to(torch.uint8), kept.coarse.to(torch.uint8)], 1)
    order = _sort_keys(groups, values).argsort(dim=1, descending=True, stable=True)
    return Selection(order, kept.lengths(), kept.fine.sum((1, 2)))


def with_budget(selection: Selection, budget: int) -> Selection:
    """The counts that a budget fixes, written down instead of waited for."""
    images, cells = len(selection.order), selection.order.shape[1] // 5
    return replace(
        selection, lengths=torch.full((images,), cells + 3 * budget), zoomed=torch.full((images,), 4 * budget)
    )


def _sort_keys(groups: Tensor, scores: Tensor) -> Tensor:
    """One whole number each that orders by group, then by score.

    The bits of a float, read as a whole number, are in the order of the floats; below 0 in the reverse one.
    """
    bits = (scores.float() + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0
    return (groups.long() << 32) + (bits ^ ((bits >> 31) & 0x7FFFFFFF))


def _whole_cells(zoomed: Tensor) -> Kept:
    return Kept(~zoomed, zoomed[:, :, None].expand(-1, -1, 4))
