"""What counts as dead, at chance, a guess; and what does not."""

import math

import pytest
import torch
from scipy.stats import binom

from zoomexp.health.judging import DOUBT, Classes, Split, above_chance, judge_epoch, judge_module, suspicious
from zoomexp.health.measuring import gate_state, output_spread

TEN = Classes(10, 0.1, math.log(10))


def so(verdicts):
    return [kind for kind, (found, _) in verdicts.items() if found]


@pytest.mark.parametrize(
    ("state", "learned", "expected"),
    [
        ({"opening": 0.02, "passed": 2e-4, "change": 1.0}, False, ["shut"]),
        ({"opening": 0.02, "passed": 2e-4}, False, ["shut"]),  # of a module that changes the size
        ({"opening": 0.8, "passed": 0.3, "change": 0.95}, False, []),  # open where the features are: sparse, not shut
        ({"opening": 0.3, "passed": 1.0, "change": 1e-3}, False, ["bypassed"]),  # a residual connection around the mask
        ({"opening": 0.3, "passed": 1.1, "change": 0.4}, False, []),  # a peaked softmax map
        ({"opening": 99.9, "passed": 1.0, "change": 1e-3}, False, ["open"]),
        ({"opening": 100.0, "passed": 1.3}, False, []),  # AttZoom, all above the threshold: it enlarges and convolves
        ({"opening": 100.0, "passed": 1.2, "change": 0.5}, False, []),  # a uniform softmax map
        ({"opening": 50.0, "passed": 0.5, "change": 0.5}, False, []),
        ({"gamma": 0.0, "passed": 1.0, "change": 0.0}, True, ["zero_gate"]),
        ({"gamma": 1e-3, "passed": 1.0, "change": 1e-3}, True, []),
        ({"gamma": 0.0, "passed": 1.0, "change": 0.0}, False, ["identity"]),
        ({"passed": math.nan, "change": math.nan, "opening": math.nan}, False, []),
    ],
)
def test_modules(state, learned, expected):
    assert so(judge_module(state, learned, 1e-6)) == expected


def test_a_glance_between_two_steps_tells_only_what_is_well():
    assert judge_module({"opening": 0.02}, False, 1e-6) == {}
    assert suspicious({"opening": 0.02})
    assert so(judge_module({"opening": 40.0}, False, 1e-6)) == []
    assert judge_module({"opening": 40.0}, False, 1e-6).keys() == {"shut", "bypassed", "open"}
    assert not suspicious({"opening": 40.0})
    assert not suspicious({})


@pytest.mark.parametrize(("images", "share"), [(500, 0.1), (5000, 0.1), (10_000, 0.01), (900, 0.6)])
def test_the_bound_of_chance_is_the_binomial_quantile(images, share):
    bound = binom.isf(
        DOUBT, images, share
    )  # the fewest right ones that a network at chance exceeds with less than DOUBT
    assert above_chance(Split(100 * (bound + 1) / images, images), share) is True
    assert above_chance(Split(100 * bound / images, images), share) is False


def test_too_few_images_tell_nothing():
    assert above_chance(Split(100.0, 3), 0.1) is None
    assert above_chance(Split(50.0, 24), 1 / 3) is None


@pytest.mark.parametrize(
    ("train", "val", "cross_entropy", "spread", "expected"),
    [
        (10.4, 9.8, 2.303, 1e-7, ["chance", "flat_loss", "constant"]),
        (10.4, 9.8, 4.1, 0.3, ["chance"]),
        (14.0, 9.8, 2.3, 1e-7, []),  # it learns: batch norm's averages lag behind
        (10.4, 16.0, 2.3, 1e-7, []),  # mixed labels hide what it has learned
        (95.0, 94.0, 0.2, 0.9, []),
    ],
)
def test_runs(train, val, cross_entropy, spread, expected):
    splits = {"train": Split(train, 4500), "val": Split(val, 500)}
    assert so(judge_epoch(splits, TEN, cross_entropy, spread)) == expected


def test_the_largest_class_is_chance():
    """60 % of one class among two: always that class is right in 60 %, its loss the entropy of 0.6 and 0.4."""
    entropy = -0.6 * math.log(0.6) - 0.4 * math.log(0.4)
    found = judge_epoch({"val": Split(61.0, 2000)}, Classes(2, 0.6, entropy), entropy, None)
    assert so(found) == ["chance", "flat_loss"]
    assert so(judge_epoch({"val": Split(70.0, 2000)}, Classes(2, 0.6, entropy), entropy, None)) == []


def test_the_state_of_a_mask():
    """A mask of 1/4 on features that vary by themselves: a quarter passes, three quarters are changed."""
    module = torch.nn.Conv2d(2, 1, 1)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.bias.fill_(1.0)
    module.map = torch.tensor([[[[0.0, 0.25], [0.25, 0.5]]]])
    x = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    state = {name: float(value) for name, value in gate_state(module, x, 0.25 * x).items()}
    assert state == pytest.approx(
        {"weight_norm": 3.0, "opening": 25.0, "saturated": 0.0, "passed": 0.25, "change": 0.75}
    )
    assert float(gate_state(module, x, 0 * x + 7)["passed"]) == 0  # a constant is nothing of the input


def test_outputs_that_do_not_depend_on_the_image():
    logits = torch.tensor([[1.0, 2.0, 2.0]]).expand(4, 3)
    assert float(output_spread(logits)) == 0
    assert float(output_spread(logits + torch.eye(4, 3))) > 0.1
