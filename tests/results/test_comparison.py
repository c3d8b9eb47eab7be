"""Which test is made of a quantity stands in its declaration; each test against scipy or its definition."""

import numpy as np
import pytest
from scipy import stats

from zoomexp.metrics.calibration import calibration_error
from zoomexp.metrics.declared import ACC1, ECE, NLL, SPEED
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.comparison import compare
from zoomexp.results.derived import declared
from zoomexp.results.predictions import Predictions
from zoomexp.results.statistics import mcnemar, paired_bootstrap, paired_t

RNG = np.random.default_rng(0)


def system(share: float, images: int = 300) -> Predictions:
    right = RNG.random(images) < share
    return Predictions(
        {"acc1": right, "nll": RNG.exponential(2 - share, images), "confidence": RNG.uniform(0.5, 1, images)}
    )


ONE, OTHER, THIRD = system(0.9), system(0.6), system(0.61)


def test_true_or_false_with_one_seed_each_is_mcnemar_and_else_the_bootstrap_of_means():
    assert compare("test/acc1", ACC1, [ONE], [OTHER]) == mcnemar(ONE["acc1"], OTHER["acc1"])
    expected = paired_bootstrap(np.stack([ONE["acc1"]]), np.stack([OTHER["acc1"], THIRD["acc1"]]))
    assert compare("test/acc1", ACC1, [ONE], [OTHER, THIRD]) == expected


def test_an_error_is_the_accuracy_the_other_way_round():
    accuracy = compare("test/acc1", ACC1, [ONE], [OTHER])
    error = compare(
        "test/error1", declared("test/error1"), *([Predictions(dict(s) | {"error1": ~s["acc1"]})] for s in (ONE, OTHER))
    )
    assert (error.difference, error.p_value) == (-accuracy.difference, accuracy.p_value)


def test_numbers_are_compared_by_the_paired_t_test_in_their_unit():
    found = compare("test/nll", NLL, [ONE], [OTHER])
    reference = stats.ttest_rel(ONE["nll"], OTHER["nll"])
    interval = reference.confidence_interval()
    assert found.difference == pytest.approx((ONE["nll"] - OTHER["nll"]).mean())
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    seeds = compare("test/nll", NLL, [ONE], [OTHER, THIRD])
    assert seeds.p_value == pytest.approx(
        stats.ttest_rel(ONE["nll"], (OTHER["nll"] + THIRD["nll"]) / 2).pvalue, rel=1e-9
    )


def test_a_paired_t_test_of_differences_without_spread():
    assert paired_t([1.0, 2.0], [1.0, 2.0]).p_value == 1.0
    assert paired_t([1.0, 2.0], [0.0, 1.0]).p_value == 0.0


def test_what_is_no_mean_is_measured_on_images_drawn_anew():
    found = compare("test/ece", ECE, [ONE], [OTHER])
    generator, draws = np.random.default_rng(0), []
    for _ in range(1000):
        images = generator.integers(300, size=300)
        errors = [calibration_error(run["confidence"][images], run["acc1"][images]) for run in (ONE, OTHER)]
        draws.append(errors[0] - errors[1])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    whole = [calibration_error(run["confidence"], run["acc1"]) for run in (ONE, OTHER)]
    assert found.difference == pytest.approx(whole[0] - whole[1])
    assert compare("test/ece", ECE, [ONE], [ONE]).p_value == 1.0


def hits_per_object(predictions: Predictions) -> float:
    """A mean over objects, of which images have different numbers: no mean over images."""
    return 100 * predictions["hit"].mean()


def test_images_with_several_objects_are_drawn_as_wholes():
    lengths = np.array([1, 3, 2, 4])
    sides = [Predictions({"hit": hit, "hit.lengths": lengths}) for hit in (np.ones(10), np.zeros(10))]
    per_object = Quantity("hit", "objects hit", "%", True, test="bootstrap", measure=f"{__name__}.hits_per_object")
    found = compare("test/hit", per_object, [sides[0]], [sides[1]])
    assert (found.difference, found.low, found.high) == (100, 100, 100)


@pytest.mark.parametrize(
    ("full", "quantity", "sides"),
    [
        ("test/acc1", ACC1, ([ONE], [])),
        ("val/acc1", ACC1, ([ONE], [OTHER])),
        ("cost/img_per_s", SPEED, ([ONE], [OTHER])),
        ("test/who", None, ([ONE], [OTHER])),
        ("test/acc1", ACC1, ([ONE], [system(0.5, images=299)])),
        ("test/acc1", ACC1, ([ONE], [Predictions({})])),
        ("test/nll", NLL, ([ONE], [Predictions({"acc1": ONE["acc1"]})])),
        ("test/ece", ECE, ([ONE], [Predictions({"acc1": ONE["acc1"]})])),
        ("test/x", Quantity("x", "x", test="bootstrap", measure="not.here"), ([ONE], [OTHER])),
    ],
)
def test_where_nothing_can_be_tested_nothing_is(full, quantity, sides):
    assert compare(full, quantity, *sides) is None
