"""The threshold alpha above which a patch is zoomed: a number, or drawn anew for every training batch.

The paper draws alpha from [0, 1] in training and fixes it in tests (table 3), without saying whether for a batch or an
image: for a batch here. Scores are small, so most uniform draws zoom nothing; "random_log" draws log alpha uniformly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zoomexp.arguments import number
from zoomexp.errors import InputError

DRAWS = {"random": (0.0, 1.0), "random_log": (0.001, 1.0)}  # with the ranges they have unless others are given


@dataclass(frozen=True)
class Threshold:
    """Gives the threshold of a batch.

    Args:
        alpha: in [0, 1], "random" or "random_log".
        span: lowest and highest draw, in [0, 1]; the lowest above 0 for "random_log". None: [0, 1], or [0.001, 1].
        test_alpha: the threshold in eval mode, in [0, 1]. None: `alpha`, which then must be a number.

    Raises:
        InputError: an argument outside these ranges.
    """

    alpha: float | str
    span: Sequence[float] | None = None
    test_alpha: float | None = None

    def __post_init__(self) -> None:
        drawn = isinstance(self.alpha, str)
        if drawn and self.alpha not in DRAWS:
            raise InputError(f"tokens.alpha must be in [0, 1], random or random_log, got {self.alpha!r}")
        if not drawn:
            number("tokens.alpha", self.alpha, 0, 1)
        if drawn and self.test_alpha is None:
            raise InputError(f"tokens.test_alpha must be in [0, 1] with alpha={self.alpha}, got None")
        if self.test_alpha is not None:
            number("tokens.test_alpha", self.test_alpha, 0, 1)
        if self.span is not None:
            self._check_span(drawn)

    def __call__(self, training: bool) -> float:
        """The threshold, drawn from torch's global generator where it is random."""
        if not training and self.test_alpha is not None:
            return self.test_alpha
        if not isinstance(self.alpha, str):
            return self.alpha
        low, high = self.span or DRAWS[self.alpha]
        share = torch.rand(()).item()
        if self.alpha == "random":
            return low + share * (high - low)
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))

    def _check_span(self, drawn: bool) -> None:
        if not drawn:
            raise InputError(f"tokens.alpha_range must be null unless alpha is random, got {self.span!r}")
        lowest = "above 0" if self.alpha == "random_log" else "at least 0"
        span = self.span if isinstance(self.span, Sequence) and len(self.span) == 2 else ()
        fits = len(span) == 2 and all(isinstance(x, int | float) for x in span) and 0 <= span[0] <= span[1] <= 1
        if not fits or (lowest == "above 0" and span[0] == 0):
            allowed = f"[low, high] with low {lowest} and high at most 1"
            raise InputError(f"tokens.alpha_range must be {allowed}, got {self.span!r}")
