"""Leaving out tokens of a finished sequence, without retraining ("Vision Transformers Need Zoomer", section 3.3).

    top_n         n tokens fewer in every image
    match_alpha   as many tokens as the threshold `prune_alpha` would give for that image; the paper prunes eta = 2,
                  alpha = 0.01 to the count of alpha = 0.1

`prune_order` "backward" takes the least important first, "forward" (figure 6, a control) the most important first.
`prune_group` says from which tokens: all (the joint sequence: fine before coarse), the zoomed (fine) or the unzoomed
(coarse) ones. Where the group is smaller than what is to go, all of it goes; one token of an image always stays.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoomexp.arguments import integer, number, one_of
from zoomexp.errors import InputError
from zoomexp.tokens.cells import CellScores
from zoomexp.tokens.ragged import placed
from zoomexp.tokens.selection import Selection, keep_above

RULES = ("none", "top_n", "match_alpha")
ORDERS = ("backward", "forward")
GROUPS = ("all", "zoomed", "unzoomed")


@dataclass(frozen=True)
class Pruning:
    """How sequences are shortened.

    Args:
        rule: "none", "top_n" or "match_alpha".
        count: n of top_n, at least 0.
        alpha: the threshold of match_alpha, in [0, 1].
        order: "backward" or "forward".
        group: "all", "zoomed" or "unzoomed".

    Raises:
        InputError: an argument outside these ranges, a rule without its n or threshold, or what no rule heeds.
    """

    rule: str = "none"
    count: int | None = None
    alpha: float | None = None
    order: str = "backward"
    group: str = "all"

    def __post_init__(self) -> None:
        one_of("tokens.pruning", self.rule, RULES)
        one_of("tokens.prune_order", self.order, ORDERS)
        one_of("tokens.prune_group", self.group, GROUPS)
        if self.rule == "top_n":
            integer("tokens.prune_n", self.count, 0)
        if self.rule == "match_alpha":
            number("tokens.prune_alpha", self.alpha, 0, 1)
        for name, value, rule in (("prune_n", self.count, "top_n"), ("prune_alpha", self.alpha, "match_alpha")):
            if value is not None and self.rule != rule:
                raise InputError(f"tokens.{name} must be null unless tokens.pruning={rule}, got {value!r}")
        for name, chosen, usual in (("order", self.order, "backward"), ("group", self.group, "all")):
            if chosen != usual and self.rule == "none":
                raise InputError(
                    f"tokens.prune_{name}={chosen}: nothing is pruned; choose a tokens.pruning, or {usual}"
                )

    def __call__(self, selection: Selection, scores: CellScores, coverage: str) -> Selection:
        """The shortened sequences of images with these scores."""
        if self.count is not None:  # top_n
            surplus = torch.full_like(selection.lengths, self.count)
        elif self.alpha is not None:  # match_alpha
            surplus = selection.lengths - keep_above(scores, self.alpha, coverage).lengths()
        else:
            return selection
        return self._without(selection, surplus)

    def _without(self, selection: Selection, surplus: Tensor) -> Selection:
        """The sequences without `surplus` (B,) tokens of the group."""
        lengths, zoomed = selection.lengths, selection.zoomed
        first = zoomed if self.group == "unzoomed" else torch.zeros_like(zoomed)
        end = zoomed if self.group == "zoomed" else lengths
        gone = surplus.minimum(end - first).minimum(lengths - 1).clamp(min=0)
        start = first if self.order == "forward" else end - gone
        of_fine = (zoomed - start).clamp(min=0).minimum(gone)
        order = _skip(selection.order, start, gone)
        return replace(selection, order=order, lengths=lengths - gone, zoomed=zoomed - of_fine)


def _skip(order: Tensor, start: Tensor, count: Tensor) -> Tensor:
    """Rows of `order` (B, C) with `count` entries from `start` on left out, the last ones repeated to fill up."""
    start, count = (placed(x, order.device)[:, None] for x in (start, count))
    place = torch.arange(order.shape[1], device=order.device)
    place = place + count * (place >= start)
    return order.gather(1, place.clamp(max=order.shape[1] - 1))
