"""What a table may claim from its numbers: t-intervals over seeds, paired tests over images, Holm's correction.

Two sources of chance are kept apart. `mean_interval` speaks of other seeds. The paired tests speak of other test
images, for the networks at hand: they do not say that another seed would give the same difference.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.stats, slow to import, is loaded when first asked for
from numpy.typing import ArrayLike

from zoomexp.errors import InputError

FEW = 100  # pairs, below which the normal approximation of how many are needed is not good enough
Bounds = tuple[float | None, float | None]  # the least and the largest value there can be


def clipped(value: float, bounds: Bounds) -> float:
    """The nearest value within the bounds.

    >>> clipped(101.2, (0.0, 100.0)), clipped(-1.0, (None, 100.0))
    (100.0, -1.0)
    """
    low, high = bounds
    return min(math.inf if high is None else high, max(-math.inf if low is None else low, value))


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the half width of its interval; None where one seed allows no interval."""

    mean: float
    half_width: float | None
    n: int

    def contains(self, value: float, tolerance: float = 0.0) -> bool:
        """Whether `value` lies inside, or nearer than `tolerance`; an interval that does not exist contains nothing."""
        return self.half_width is not None and abs(value - self.mean) <= self.half_width + tolerance + 1e-9

    def ends(self, bounds: Bounds = (None, None)) -> tuple[float, float]:
        """Its ends, cut to what is possible; the mean where one seed allows no interval.

        >>> Interval(97.0, 12.0, 3).ends((0.0, 100.0))
        (85.0, 100.0)
        """
        half = self.half_width or 0.0
        return clipped(self.mean - half, bounds), clipped(self.mean + half, bounds)

    def text(self, number: Callable[[float], str], bounds: Bounds = (None, None), sign: str = "±") -> str:
        """Mean and half width, or, where part of the interval is not possible, mean and ends.

        >>> Interval(97.0, 2.0, 3).text("{:.1f}".format, (0.0, 100.0)), Interval(97.0, None, 1).text("{:.1f}".format)
        ('97.0 ± 2.0', '97.0')
        >>> Interval(97.0, 12.0, 3).text("{:.1f}".format, (0.0, 100.0))
        '97.0 (85.0 to 100.0)'
        """
        if self.half_width is None:
            return number(self.mean)
        if self.ends(bounds) == self.ends():
            return f"{number(self.mean)} {sign} {number(self.half_width)}"
        low, high = self.ends(bounds)
        return f"{number(self.mean)} ({number(low)} to {number(high)})"


@dataclass(frozen=True)
class PairedTest:
    """Two systems on the same images: difference (a minus b; of accuracies in points) and a two-sided p value."""

    name: str
    difference: float
    p_value: float
    low: float | None = None
    high: float | None = None


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean and Student-t interval over seeds.

    >>> round(mean_interval([90.0, 91.0, 92.0]).half_width, 4)  # t(0.975, 2) / sqrt(3) = 4.3027 / 1.7321
    2.4841
    >>> mean_interval([90.0])
    Interval(mean=90.0, half_width=None, n=1)
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.size == 0:
        raise InputError("values: an interval needs a list of at least one number")
    if not np.isfinite(values).all():
        raise InputError("values: every measured value must be finite")
    mean, n = float(values.mean()), values.size
    if n == 1:
        return Interval(mean, None, 1)
    quantile = scipy.stats.t.ppf((1 + confidence) / 2, df=n - 1)
    return Interval(mean, float(quantile * values.std(ddof=1) / np.sqrt(n)), n)


def size_needed(difference: float, deviation: float, power: float = 0.8, confidence: float = 0.95) -> int:
    """How many pairs it takes to tell their mean difference from nothing by Student's paired t test.

    From `FEW` pairs on by the normal approximation, n = ((z_confidence + z_power) deviation / difference)^2. For fewer,
    where that is too few by two or three, the smallest n from there on whose test has the power:

        P(T > t_n)   with T of n - 1 degrees of freedom and non-centrality sqrt(n) difference / deviation

    (Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2).

    Args:
        difference: the mean difference that there is, not 0.
        deviation: standard deviation of one pair's difference, in the same unit, at least 0.
        power: the chance of a p value below 1 - `confidence`.
        confidence: of the two-sided test.

    >>> size_needed(0.5, 1.0), size_needed(0.2, 1.0)  # 7.849 / 0.25 are 32, and 7.849 / 0.04
    (34, 197)
    """
    reach = scipy.stats.norm.ppf((1 + confidence) / 2) + scipy.stats.norm.ppf(power)
    count = max(2, int(np.ceil((reach * deviation / difference) ** 2)))
    if not deviation or count >= FEW:
        return count
    return next(n for n in itertools.count(count) if _power(n, difference / deviation, confidence) >= power)


def _power(count: int, effect: float, confidence: float) -> float:
    """The chance that a two-sided paired t test of `count` pairs tells a mean of `effect` deviations from nothing.

    That it does so with the wrong sign is left out: less than 1e-5 at a power of 80 %, and NaN in scipy 1.17 far out.
    """
    freedom, centre = count - 1, abs(effect) * count**0.5
    critical = scipy.stats.t.ppf((1 + confidence) / 2, freedom)
    return float(scipy.stats.nct.sf(critical, freedom, centre))


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> PairedTest:
    """McNemar's exact test: a binomial test on the images that exactly one of two networks gets right.

    Args:
        correct_a: `(N,)` booleans, one per test image.
        correct_b: `(N,)` booleans of the other network, in the same order.
    """
    a, b = _paired(correct_a, correct_b)
    if not all(np.isin(side, (0, 1)).all() for side in (a, b)) or len(a) != 1 or len(b) != 1:
        raise InputError(
            "correct: McNemar's test needs one true/false per image; use paired_bootstrap for several seeds"
        )
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    discordant = only_a + only_b
    p_value = scipy.stats.binomtest(only_a, discordant, 0.5).pvalue if discordant else 1.0
    return PairedTest("McNemar", 100 * (only_a - only_b) / a.size, float(p_value))


def paired_bootstrap(
    correct_a: ArrayLike, correct_b: ArrayLike, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> PairedTest:
    """Percentile interval and two-sided p value of the difference of accuracy, resampling images.

    Several seeds of a system are averaged per image first. A per-image difference takes few distinct values, so a
    resample of N images is one multinomial draw over those values: quick at any N.

    Args:
        correct_a: `(N,)` or `(seeds, N)` correctness per test image.
        correct_b: the same for the other system; the number of seeds may differ, N may not.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling; nothing global is touched.
        confidence: mass of the interval.
    """
    a, b = _paired(correct_a, correct_b)
    gain = np.round(a.mean(axis=0) - b.mean(axis=0), 12)
    levels, counts = np.unique(gain, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(gain.size, counts / gain.size, size=resamples)
    differences = np.round(100 * draws @ levels / gain.size, 9)
    low, high, p_value = _percentile(differences, confidence)
    return PairedTest("paired bootstrap", float(100 * gain.mean()), p_value, low, high)


def paired_t(values_a: ArrayLike, values_b: ArrayLike, confidence: float = 0.95) -> PairedTest:
    """Student's paired t test of the mean over images, with its interval.

    Args:
        values_a: `(N,)` or `(seeds, N)` numbers, one per test image; seeds are averaged per image first. N at least 2.
        values_b: the same for the other system, in the same order.
        confidence: mass of the interval.

    >>> test = paired_t([1.0, 2.0, 3.0], [0.0, 2.0, 1.0])  # differences 1, 0, 2: mean 1, standard error 1 / sqrt(3)
    >>> round(test.difference, 4), round(test.high, 4)
    (1.0, 3.4841)
    """
    a, b = _paired(values_a, values_b)
    interval = mean_interval(a.mean(axis=0) - b.mean(axis=0), confidence)
    if interval.half_width is None:
        raise InputError("values: a paired t test needs at least two images")
    if interval.half_width == 0:  # every image differs by the same
        p_value = 1.0 if interval.mean == 0 else 0.0
    else:
        quantile = scipy.stats.t.ppf((1 + confidence) / 2, df=interval.n - 1)
        p_value = float(2 * scipy.stats.t.sf(abs(interval.mean) * quantile / interval.half_width, df=interval.n - 1))
    low, high = interval.mean - interval.half_width, interval.mean + interval.half_width
    return PairedTest("paired t", interval.mean, p_value, low, high)


def draws_of_images(images: int, draws: int = 1000, seed: int = 0) -> Iterator[np.ndarray]:
    """Images `(N,)` drawn anew, places in 0..N - 1, so many times: the same ones for every system."""
    generator = np.random.default_rng(seed)
    return (generator.integers(images, size=images) for _ in range(draws))


def bootstrap_measure(whole: float, draws: np.ndarray, confidence: float = 0.95) -> PairedTest:
    """Percentile interval and two-sided p value of the difference of a measure that is no mean over images.

    Args:
        whole: the measure of one system minus that of the other, of all images.
        draws: `(D,)` the same of images drawn anew (see `draws_of_images`); NaN for those that it says nothing of
            (only one class was drawn), which are left out. The p value is at least 2 / (D + 1).
        confidence: mass of the interval.
    """
    low, high, p_value = _percentile(draws[~np.isnan(draws)], confidence)
    return PairedTest("bootstrap over images", whole, p_value, low, high)


def p_text(value: float) -> str:
    """A p value as it is shown.

    >>> p_text(0.0004), p_text(0.0312)
    ('p < 0.001', 'p = 0.031')
    """
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _percentile(differences: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Interval and two-sided p value of resampled differences (resamples,)."""
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    tail = 1 + min((differences <= 0).sum(), (differences >= 0).sum())
    return float(low), float(high), float(min(1.0, 2 * tail / (len(differences) + 1)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; None (no test) is kept and does not count.

    >>> holm([0.01, None, 0.04, 0.03])  # 3 * 0.01, -, max(2 * 0.03, 0.04), 2 * 0.03
    [0.03, None, 0.06, 0.06]
    """
    known = {i: p for i, p in enumerate(p_values) if p is not None}
    if any(not 0 <= p <= 1 for p in known.values()):
        raise InputError("p_values: every p value must lie in [0, 1]")
    adjusted, running = list(p_values), 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: known[i])):
        running = max(running, min(1.0, (len(known) - rank) * known[i]))
        adjusted[i] = running
    return adjusted


def _paired(correct_a: ArrayLike, correct_b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as `(seeds, N)` floats over the same N images."""
    if correct_a is None or correct_b is None:
        raise InputError("correct: a paired test needs the predictions of both systems; one is missing")
    a, b = np.atleast_2d(np.asarray(correct_a, dtype=float)), np.atleast_2d(np.asarray(correct_b, dtype=float))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.size == 0 or b.size == 0:
        raise InputError(f"correct: a paired test needs the same images twice, got shapes {a.shape} and {b.shape}")
    return a, b
