"""The statistics against values worked out by hand and against scipy."""

import time

import numpy as np
import pytest
from scipy import integrate, stats

from zoomexp.errors import InputError
from zoomexp.results.statistics import Interval, holm, mcnemar, mean_interval, paired_bootstrap, size_needed


def test_interval_by_hand():
    interval = mean_interval([1.0, 3.0])  # sd sqrt(2), se 1, t(0.975, 1) = 12.7062
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(12.7062, abs=1e-4)
    assert interval.n == 2


def test_interval_equals_scipy():
    values = np.random.default_rng(0).normal(91, 0.3, size=7)
    low, high = stats.t.interval(0.9, df=6, loc=values.mean(), scale=stats.sem(values))
    interval = mean_interval(values, confidence=0.9)
    assert (interval.mean - interval.half_width, interval.mean + interval.half_width) == pytest.approx((low, high))


def test_one_seed_has_no_interval_and_contains_nothing():
    interval = mean_interval([91.44])
    assert interval == Interval(91.44, None, 1)
    assert not interval.contains(91.44)


def test_equal_seeds_have_a_point_interval():
    interval = mean_interval([0.1 + 0.2, 0.3])
    assert interval.contains(0.3)
    assert not interval.contains(0.31)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf], [[1.0, 2.0]], 3.0])
def test_interval_refuses(values):
    with pytest.raises(InputError, match="values"):
        mean_interval(values)


def test_mcnemar_by_hand():
    a = np.array([1, 1, 1, 1, 1, 0, 1, 0], dtype=bool)
    b = np.array([0, 0, 0, 0, 0, 1, 1, 0], dtype=bool)
    test = mcnemar(a, b)  # 5 against 1: p = 2 * (C(6,0) + C(6,1)) / 2**6 = 14 / 64
    assert test.p_value == pytest.approx(14 / 64)
    assert test.difference == pytest.approx(50.0)
    assert mcnemar(b, a).difference == pytest.approx(-50.0)


@pytest.mark.parametrize("test", [mcnemar, paired_bootstrap])
def test_identical_predictions_have_p_one(test):
    correct = np.random.default_rng(0).random(100) < 0.9
    result = test(correct, correct)
    assert (result.p_value, result.difference) == (1.0, 0.0)


@pytest.mark.parametrize("test", [mcnemar, paired_bootstrap])
@pytest.mark.parametrize(("a", "b"), [([1, 0], [1, 0, 1]), ([1, 0], None), (None, [1]), ([], [])])
def test_unpaired_input_is_refused(test, a, b):
    with pytest.raises(InputError, match="correct"):
        test(a, b)


@pytest.mark.parametrize("a", [[0.5, 1.0], [[1, 0], [1, 1]]])
def test_mcnemar_refuses_several_seeds(a):
    with pytest.raises(InputError, match="paired_bootstrap"):
        mcnemar(a, [1, 0])


def test_bootstrap_agrees_with_the_normal_interval_and_is_quick():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 10_000)) < np.array([[0.91], [0.90]])
    start = time.perf_counter()
    test = paired_bootstrap(a, b)
    assert time.perf_counter() - start < 1.0
    gain = a.astype(float) - b
    half = 1.96 * 100 * gain.std(ddof=1) / 100
    assert test.difference == pytest.approx(100 * gain.mean())
    assert (test.low, test.high) == pytest.approx((test.difference - half, test.difference + half), abs=0.04)
    z = abs(test.difference) / (half / 1.96)
    assert test.p_value == pytest.approx(2 * stats.norm.sf(z), abs=0.015)


def test_bootstrap_equals_resampling_by_index():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 3, 60)) < 0.7
    gain = a.mean(axis=0) - b.mean(axis=0)
    slow = 100 * gain[rng.integers(0, 60, size=(20_000, 60))].mean(axis=1)
    test = paired_bootstrap(a, b, resamples=20_000)
    assert (test.low, test.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.6)


def test_bootstrap_averages_seeds_and_repeats_itself():
    a, b = np.array([[1, 1, 0, 0], [1, 0, 0, 1]]), np.array([[0, 0, 0, 1]])
    assert paired_bootstrap(a, b).difference == pytest.approx(25.0)  # mean of 1, 0.5, 0, -0.5
    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3)
    assert paired_bootstrap(a, b).p_value == pytest.approx(paired_bootstrap(b, a).p_value, abs=0.02)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_keeps_missing_tests_and_stops_at_one():
    assert holm([None, 0.6, None, 0.7]) == [None, 1.0, None, 1.0]
    assert holm([]) == []
    with pytest.raises(InputError, match="p_values"):
        holm([1.2])


def power_of(pairs: int, effect: float) -> float:
    """Of the two-sided paired t test at 0.05, without its distribution: integrated over the sample's variance."""
    critical, freedom = stats.t.ppf(0.975, pairs - 1), pairs - 1

    def told(variance: float) -> float:
        reach = critical * (variance / freedom) ** 0.5
        above = stats.norm.sf(reach - effect * pairs**0.5) + stats.norm.cdf(-reach - effect * pairs**0.5)
        return above * stats.chi2.pdf(variance, freedom)

    return integrate.quad(told, 0, stats.chi2.ppf(1 - 1e-12, freedom), limit=500)[0]


@pytest.mark.parametrize("effect", [0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 4.0, 20.0])
def test_few_pairs_are_counted_by_the_power_of_the_t_test(effect):
    pairs = size_needed(effect, 1.0)
    assert power_of(pairs, effect) >= 0.8 and (pairs == 2 or power_of(pairs - 1, effect) < 0.8)
    assert size_needed(-3 * effect, 3.0) == pairs


def test_how_many_pairs_are_needed():
    """34 is what power tables have for half a deviation at 0.05 and 80 %; the normal approximation says 32."""
    assert (size_needed(0.5, 1.0), size_needed(1.0, 1.0)) == (34, 10)
    assert size_needed(0.2, 1.0) == 197  # 7.8489 / 0.04, and 199 by the t test: one in a hundred
    assert size_needed(0.1, 0.0) == 2  # every pair says the same
