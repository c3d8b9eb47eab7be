"""Which of two systems a paper puts first, and what the runs say of that order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoomexp.metrics.declared import ACC1
from zoomexp.results.comparison import compare
from zoomexp.results.derived import declared, value_of
from zoomexp.results.statistics import PairedTest, mean_interval, p_text


@dataclass(frozen=True)
class Claim:
    """That the row `better` is ahead of the row `than` in a column; it may hold at any scale."""

    better: str
    than: str
    column: str = f"test/{ACC1.key}"


def judged(claim: Claim, runs: Mapping[str, Sequence]) -> str:
    """The claim, the difference measured, and whether it holds, in one sentence.

    Where the quantity declares a test on images, the same test images decide (see `comparison`); else the seeds that
    both rows have.

    Args:
        claim: what the paper says.
        runs: row -> its finished runs (`RunResult`).
    """
    one, other = runs.get(claim.better, ()), runs.get(claim.than, ())
    column = declared(claim.column, [quantity for run in (*one, *other) for quantity in run.quantities])
    below = column is not None and column.higher_is_better is False
    said = f"Claimed order: {claim.better!r} {'below' if below else 'above'} {claim.than!r} in {claim.column}"
    if not one or not other:
        return f"{said}: not measured."
    test = compare(claim.column, column, *([run.predictions for run in side] for side in (one, other)))
    if test is not None:
        unit = "points" if column.unit == "%" else column.unit
        return f"{said}: {_by_images(test, unit, below)}."
    return f"{said}: {_by_seeds(claim.column, one, other, below)}."


def _by_images(test: PairedTest, unit: str, below: bool) -> str:
    said = _verdict(-test.difference if below else test.difference, test.p_value < 0.05)
    if test.low is None:
        return f"{test.difference:+.2f} {unit}, {said} ({p_text(test.p_value)})"
    return f"{_interval(test.difference, test.low, test.high)}, {said}"


def _by_seeds(column: str, one: Sequence, other: Sequence, below: bool) -> str:
    values = [{run.seed: value_of(column, run.metrics, run.cost) for run in side} for side in (one, other)]
    pairs = [(values[0][seed], values[1][seed]) for seed in values[0] if seed in values[1]]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if len(differences) < 2:
        return "not measured with two seeds of both"
    interval = mean_interval(differences)
    low, high = interval.mean - interval.half_width, interval.mean + interval.half_width
    said = _verdict(-interval.mean if below else interval.mean, low * high > 0)
    return f"{_interval(interval.mean, low, high)} over {len(differences)} seeds, {said}"


def _interval(difference: float, low: float, high: float) -> str:
    return f"{difference:+.2f} (95 % {low:+.2f} to {high:+.2f})"


def _verdict(difference: float, significant: bool) -> str:
    if not significant:
        return "undecided"
    return "holds" if difference > 0 else "the opposite holds"
