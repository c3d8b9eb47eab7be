"""Which of two systems a paper puts first, and what the runs say of that order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy  # scipy.stats, slow to import, is loaded when first asked for

from zoomexp.health.findings import CUT_OFF, NOT_LEARNED, worst_mark
from zoomexp.metrics.declared import ACC1
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.comparison import compare
from zoomexp.results.derived import by_seed, declared
from zoomexp.results.statistics import PairedTest, mean_interval, p_text, size_needed

if TYPE_CHECKING:
    from zoomexp.results.filling import RunResult
    from zoomexp.results.table import Row, Table

HOLDS, OPPOSITE, UNDECIDED, NOT_MEASURED = "holds", "the opposite holds", "undecided", "not measured"
NO_EVIDENCE = "no evidence"
EVIDENCE_ENDS = (NOT_LEARNED, CUT_OFF)  # the marks of networks that nothing follows from
MOST = 1_000_000  # images or seeds that are counted
NO_PAIR = "not measured with two seeds of both"
ONE_SEED = "one seed each says nothing of others"


@dataclass(frozen=True)
class Claim:
    """That the row `better` is ahead of the row `than` in a column; it may hold at any scale."""

    better: str
    than: str
    column: str = f"test/{ACC1.key}"


@dataclass(frozen=True)
class Spread:
    """The 95 % interval of a difference over what it is counted in.

    Args:
        low: its lower end; None where the test has no interval.
        high: its upper end.
        count: how many there are.
        what: "test images" or "seeds".
        significant: whether they tell the difference from nothing.
        quantile: half of the interval in standard errors.
    """

    low: float | None
    high: float | None
    count: int
    what: str
    significant: bool
    quantile: float

    def __str__(self) -> str:
        """The interval in words."""
        over = f"{self.count} {self.what}" if self.what == "seeds" else self.what
        return f"{self.low:+.2f} to {self.high:+.2f} over {over}"

    def needed(self, difference: float) -> str:
        """How many of them would tell a difference as measured from nothing; empty where these do."""
        if self.significant or self.low is None or self.high is None or not difference:
            return ""
        deviation = (self.high - self.low) / 2 / self.quantile * self.count**0.5
        count = max(self.count + 1, size_needed(difference, deviation))
        return f"{count:,} {self.what}" if count <= MOST else f"more than {MOST:,} {self.what}"


@dataclass(frozen=True)
class Judgement:
    """What became of a claim.

    Args:
        claim: what the paper says.
        verdict: HOLDS, OPPOSITE, UNDECIDED, NO_EVIDENCE, NOT_MEASURED or NO_PAIR.
        quantity: of the column; None where nobody declares it.
        reported: how far apart the paper's values are, better minus than; None where it gives none.
        difference: the same as measured; None where it was not.
        p_value: of the paired test on images.
        spreads: over test images, over seeds, whichever there are.
        reason: why it is undecided or no evidence, in words.
    """

    claim: Claim
    verdict: str
    quantity: Quantity | None = None
    reported: float | None = None
    difference: float | None = None
    p_value: float | None = None
    spreads: tuple[Spread, ...] = ()
    reason: str = ""

    @property
    def unit(self) -> str:
        """Of the differences: points, where shares are compared."""
        unit = self.quantity.unit if self.quantity else ""
        return "points" if unit == "%" else unit

    @property
    def order(self) -> str:
        """Where the better one stands in its column: "above" or "below" the other."""
        return "below" if self.quantity is not None and self.quantity.higher_is_better is False else "above"

    @property
    def measured(self) -> str:
        """The difference with its intervals; empty where there is none."""
        if self.difference is None:
            return ""
        intervals = ", ".join(str(spread) for spread in self.spreads if spread.low is not None)
        return f"{self.difference:+.2f}" + (f" (95 % {intervals})" if intervals else f" {self.unit}".rstrip())

    def __str__(self) -> str:
        """The claim, the difference measured, and whether it holds, in one sentence."""
        claim = self.claim
        said = f"Claimed order: {claim.better!r} {self.order} {claim.than!r} in {claim.column}: "
        test = f" ({p_text(self.p_value)})" if self.p_value is not None and self.spreads[0].low is None else ""
        measured = f"{self.measured}, " if self.measured else ""
        return f"{said}{measured}{self.verdict}{test}{f'; {self.reason}' if self.reason else ''}."


def judged(claim: Claim, runs: Mapping[str, Sequence["RunResult"]], reported: float | None = None) -> Judgement:
    """What the runs say of a claim.

    A claim is of methods, not of the networks at hand: it is decided where both other test images, if the quantity
    declares a test on them (see `comparison`), and other seeds would give the same order, and no run of either row is
    marked as not learned or its module as shut.

    Args:
        claim: what the paper says.
        runs: row -> its finished runs (`RunResult`).
        reported: how far apart the paper's values are.
    """
    one, other = runs.get(claim.better, ()), runs.get(claim.than, ())
    column = declared(claim.column, [quantity for run in (*one, *other) for quantity in run.quantities])
    unknown = Judgement(claim, NOT_MEASURED, column, reported)
    if not one or not other:
        return unknown
    test = compare(claim.column, column, *([run.predictions for run in side] for side in (one, other)))
    apart = [a - b for a, b in by_seed(claim.column, one, other)]
    if test is None and len(apart) < 2:
        return replace(unknown, verdict=NO_PAIR)
    spreads = (*([_over_images(test, one[0].predictions.images)] if test else []),
               *([_over_seeds(apart)] if len(apart) > 1 else []))  # fmt: skip
    difference = test.difference if test else float(np.mean(apart))
    found = replace(unknown, difference=difference, p_value=test.p_value if test else None, spreads=spreads)
    if marks := _marks(claim, runs):
        return replace(found, verdict=NO_EVIDENCE, reason=marks)
    if len(apart) < 2:
        return replace(found, verdict=UNDECIDED, reason=ONE_SEED)
    if all(spread.significant and cast(float, spread.low) * difference > 0 for spread in spreads):
        return replace(found, verdict=HOLDS if (difference > 0) is (found.order == "above") else OPPOSITE)
    needed = " and ".join(filter(None, (spread.needed(difference) for spread in spreads)))
    told = f"at a power of 80 % so small a difference takes {needed}" if needed else ""
    return replace(found, verdict=UNDECIDED, reason=told)


def claims_of(table: "Table") -> list[tuple[Claim, float | None]]:
    """What a table claims, each with how far apart the paper's values are.

    Where its file names no claims, it is the order in which the paper puts each row and its baseline, in the first
    column of a test in which it gives both.
    """
    claims = [(claim, _apart(table, claim)) for claim in table.claims]
    return claims or [claim for row in table.rows if (claim := _reported_order(table, row))]


def _apart(table: "Table", claim: Claim) -> float | None:
    first, second = (table.row(name).reported.get(claim.column) for name in (claim.better, claim.than))
    return None if first is None or second is None else first - second


def _reported_order(table: "Table", row: "Row") -> tuple[Claim, float] | None:
    baseline = table.baseline_of(row)
    if baseline is None:
        return None
    for column in table.columns:
        pair = Claim(row.name, baseline.name, column.key)
        apart = _apart(table, pair)
        if apart and column.key.startswith("test/") and column.higher_is_better is not None:
            ahead = (apart > 0) is column.higher_is_better
            return (pair, apart) if ahead else (Claim(baseline.name, row.name, column.key), -apart)
    return None


def _marks(claim: Claim, runs: Mapping[str, Sequence["RunResult"]]) -> str:
    """Which of the two rows have runs that nothing follows from, and how many."""
    found = {name: worst_mark([run.health for run in runs[name]], EVIDENCE_ENDS) for name in (claim.better, claim.than)}
    return "; ".join(f"{name!r}: {mark}" for name, mark in found.items() if mark)


def _over_images(test: PairedTest, images: int) -> Spread:
    return Spread(test.low, test.high, images, "test images", test.p_value < 0.05, scipy.stats.norm.ppf(0.975))


def _over_seeds(apart: Sequence[float]) -> Spread:
    interval = mean_interval(apart)
    half = cast(float, interval.half_width)
    low, high = interval.mean - half, interval.mean + half
    return Spread(low, high, len(apart), "seeds", low * high > 0, scipy.stats.t.ppf(0.975, len(apart) - 1))
