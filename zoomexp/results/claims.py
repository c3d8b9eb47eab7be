"""Which of two systems a paper puts first, and what the runs say of that order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoomexp.results.derived import quantity
from zoomexp.results.statistics import mcnemar, mean_interval, paired_bootstrap


@dataclass(frozen=True)
class Claim:
    """That the row `better` is above the row `than` in a column; it may hold at any scale."""

    better: str
    than: str
    column: str = "test/acc1"


def judged(claim: Claim, runs: Mapping[str, Sequence]) -> str:
    """The claim, the difference measured, and whether it holds, in one sentence.

    Of accuracies the difference is tested on the same test images (paired bootstrap, McNemar with one seed each), of
    other quantities over the seeds that both rows have.

    Args:
        claim: what the paper says.
        runs: row -> its finished runs (`RunResult`).
    """
    said = f"Claimed order: {claim.better!r} above {claim.than!r} in {claim.column}"
    one, other = runs.get(claim.better, ()), runs.get(claim.than, ())
    if not one or not other:
        return f"{said}: not measured."
    if claim.column == "test/acc1" and all(run.correct is not None for run in (*one, *other)):
        return f"{said}: {_by_images([run.correct for run in one], [run.correct for run in other])}."
    return f"{said}: {_by_seeds(claim.column, one, other)}."


def _by_images(one: Sequence, other: Sequence) -> str:
    if len(one) == len(other) == 1:
        test = mcnemar(one[0], other[0])
        return f"{test.difference:+.2f} points, {_verdict(test.difference, test.p_value < 0.05)} ({_p(test.p_value)})"
    test = paired_bootstrap(one, other)
    return f"{_interval(test.difference, test.low, test.high)}, {_verdict(test.difference, test.p_value < 0.05)}"


def _by_seeds(column: str, one: Sequence, other: Sequence) -> str:
    values = [{run.seed: quantity(column, run.metrics, run.cost) for run in side} for side in (one, other)]
    pairs = [(values[0][seed], values[1][seed]) for seed in values[0] if seed in values[1]]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if len(differences) < 2:
        return "not measured with two seeds of both"
    interval = mean_interval(differences)
    low, high = interval.mean - interval.half_width, interval.mean + interval.half_width
    return (
        f"{_interval(interval.mean, low, high)} over {len(differences)} seeds, {_verdict(low + high, low * high > 0)}"
    )


def _interval(difference: float, low: float, high: float) -> str:
    return f"{difference:+.2f} (95 % {low:+.2f} to {high:+.2f})"


def _verdict(difference: float, significant: bool) -> str:
    if not significant:
        return "undecided"
    return "holds" if difference > 0 else "the opposite holds"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
