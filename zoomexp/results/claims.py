"""Which of two systems a paper puts first, and what the runs say of that order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import scipy  # scipy.stats, slow to import, is loaded when first asked for

from zoomexp.metrics.declared import ACC1
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.comparison import compare
from zoomexp.results.derived import declared, value_of
from zoomexp.results.statistics import mean_interval, p_text, size_needed

if TYPE_CHECKING:
    from zoomexp.results.filling import RunResult
    from zoomexp.results.table import Row, Table

HOLDS, OPPOSITE, UNDECIDED, NOT_MEASURED = "holds", "the opposite holds", "undecided", "not measured"
MOST = 1_000_000  # images or seeds that are counted
NO_PAIR = "not measured with two seeds of both"


@dataclass(frozen=True)
class Claim:
    """That the row `better` is ahead of the row `than` in a column; it may hold at any scale."""

    better: str
    than: str
    column: str = f"test/{ACC1.key}"


@dataclass(frozen=True)
class Judgement:
    """What became of a claim.

    Args:
        claim: what the paper says.
        verdict: HOLDS, OPPOSITE, UNDECIDED, NOT_MEASURED or NO_PAIR.
        quantity: of the column; None where nobody declares it.
        reported: how far apart the paper's values are, better minus than; None where it gives none.
        difference: the same as measured; None where it was not.
        low: lower end of its 95 % interval, of other test images or of other seeds.
        high: upper end.
        p_value: of the paired test on images.
        seeds: how many seeds decide; 0 where the test images do.
        needed: where it is undecided, what a difference of the measured size would take, in words.
    """

    claim: Claim
    verdict: str
    quantity: Quantity | None = None
    reported: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    seeds: int = 0
    needed: str = ""

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
        """The difference with its interval; empty where there is none."""
        if self.difference is None:
            return ""
        if self.low is None:
            return f"{self.difference:+.2f} {self.unit}".rstrip()
        return f"{self.difference:+.2f} (95 % {self.low:+.2f} to {self.high:+.2f})"

    def __str__(self) -> str:
        """The claim, the difference measured, and whether it holds, in one sentence."""
        claim = self.claim
        said = f"Claimed order: {claim.better!r} {self.order} {claim.than!r} in {claim.column}: "
        over = f" over {self.seeds} seeds" if self.seeds else ""
        test = f" ({p_text(self.p_value)})" if self.low is None and self.p_value is not None else ""
        measured = f"{self.measured}{over}, " if self.measured else ""
        needed = f"; {self.needed}" if self.needed else ""
        return f"{said}{measured}{self.verdict}{test}{needed}."


def judged(claim: Claim, runs: Mapping[str, Sequence["RunResult"]], reported: float | None = None) -> Judgement:
    """What the runs say of a claim.

    Where the quantity declares a test on images, the same test images decide (see `comparison`); else the seeds that
    both rows have.

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
    if test is None:
        return _by_seeds(unknown, one, other)
    verdict = _verdict(unknown, test.difference, test.p_value < 0.05)
    found = replace(
        unknown, verdict=verdict, difference=test.difference, low=test.low, high=test.high, p_value=test.p_value
    )
    return replace(found, needed=_needed(found, one[0].predictions.images, scipy.stats.norm.ppf(0.975), "test images"))


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


def _by_seeds(unknown: Judgement, one: Sequence["RunResult"], other: Sequence["RunResult"]) -> Judgement:
    column = unknown.claim.column
    values = [{run.seed: value_of(column, run.metrics, run.cost) for run in side} for side in (one, other)]
    pairs = [(values[0][seed], values[1][seed]) for seed in values[0] if seed in values[1]]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if len(differences) < 2:
        return replace(unknown, verdict=NO_PAIR)
    interval = mean_interval(differences)
    half = cast(float, interval.half_width)
    low, high = interval.mean - half, interval.mean + half
    verdict = _verdict(unknown, interval.mean, low * high > 0)
    found = replace(unknown, verdict=verdict, difference=interval.mean, low=low, high=high, seeds=len(differences))
    return replace(found, needed=_needed(found, found.seeds, scipy.stats.t.ppf(0.975, found.seeds - 1), "seeds"))


def _needed(found: Judgement, now: int, quantile: float, what: str) -> str:
    """What it would take to decide: the interval says how much one image, or one seed, varies.

    Args:
        found: what became of the claim.
        now: how many images or seeds its interval is made of.
        quantile: half of the interval in standard errors.
        what: that is counted.
    """
    if found.verdict != UNDECIDED or found.low is None or not found.difference:
        return ""
    deviation = (cast(float, found.high) - found.low) / 2 / quantile * now**0.5
    count = max(now + 1, size_needed(found.difference, deviation))
    told = f"{count:,}" if count <= MOST else f"more than {MOST:,}"
    return f"at a power of 80 % so small a difference takes {told} {what}"


def _verdict(unknown: Judgement, difference: float, significant: bool) -> str:
    if not significant:
        return UNDECIDED
    return HOLDS if (difference > 0) is (unknown.order == "above") else OPPOSITE
