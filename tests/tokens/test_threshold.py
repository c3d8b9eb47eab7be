"""The threshold: fixed, drawn, and another one in eval mode."""

import math

import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.tokens.threshold import Threshold


@pytest.mark.parametrize(("span", "low", "high"), [(None, 0.0, 1.0), ((0.2, 0.6), 0.2, 0.6)])
def test_uniform_draws_come_from_the_global_generator(span, low, high):
    threshold = Threshold("random", span, test_alpha=0.03)
    torch.manual_seed(0)
    drawn = [threshold(training=True) for _ in range(5)]
    torch.manual_seed(0)
    assert drawn == pytest.approx([low + (high - low) * torch.rand(()).item() for _ in range(5)])
    assert threshold(training=False) == 0.03


@pytest.mark.parametrize(("span", "low", "high"), [(None, 0.001, 1.0), ((0.01, 0.1), 0.01, 0.1)])
def test_log_uniform_draws(span, low, high):
    threshold = Threshold("random_log", span, test_alpha=0.03)
    torch.manual_seed(0)
    drawn = [threshold(training=True) for _ in range(5)]
    torch.manual_seed(0)
    expected = [low * (high / low) ** torch.rand(()).item() for _ in range(5)]
    assert drawn == pytest.approx(expected)
    assert all(low <= alpha <= high for alpha in drawn)
    assert not math.isclose(drawn[0], drawn[1])


def test_a_fixed_threshold_draws_nothing():
    state = torch.get_rng_state()
    assert (Threshold(0.1)(True), Threshold(0.1)(False), Threshold(0.1, test_alpha=0)(False)) == (0.1, 0.1, 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5,), r"tokens\.alpha=1\.5 must be a number in \[0, 1\]"),
        ((-0.1,), r"tokens\.alpha=-0\.1 must be a number in \[0, 1\]"),
        ((True,), r"tokens\.alpha=True must be a number in \[0, 1\]"),
        (("often",), r"tokens\.alpha must be in \[0, 1\], random or random_log, got 'often'"),
        (("random",), r"tokens\.test_alpha must be in \[0, 1\] with alpha=random, got None"),
        (("random", None, 2.0), r"tokens\.test_alpha=2\.0 must be a number in \[0, 1\]"),
        ((0.1, (0, 1)), r"tokens\.alpha_range must be null unless alpha is random"),
        (("random", (0.6, 0.2), 0.1), r"tokens\.alpha_range must be \[low, high\] with low at least 0"),
        (("random", (0.5,), 0.1), r"tokens\.alpha_range must be"),
        (("random", 5, 0.1), r"tokens\.alpha_range must be \[low, high\] .*, got 5$"),
        (("random_log", (0, 0.2), 0.1), r"low above 0 and high at most 1, got \(0, 0\.2\)"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        Threshold(*arguments)
    assert "\n" not in str(error.value)
