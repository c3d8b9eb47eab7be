"""Claimed orders: judged by paired tests on images or seeds, in words."""

import re

import numpy as np
import pytest

from zoomexp.errors import InputError
from zoomexp.results.claims import Claim, claims_of, judged
from zoomexp.results.filling import RunResult
from zoomexp.results.predictions import Predictions
from zoomexp.results.statistics import mcnemar, mean_interval, paired_bootstrap
from zoomexp.results.table import load_table

CLAIM = Claim("ours", "plain")
RNG = np.random.default_rng(0)


def runs(share, seeds=1, images=400, health=""):
    """Runs that get each image right with probability `share`."""
    draws = np.random.default_rng(int(100 * share)).random((seeds, images)) < share
    return [
        RunResult({"test/acc1": 100 * right.mean()}, {}, seed, Predictions({"acc1": right}), health=health)
        for seed, right in enumerate(draws)
    ]


def intervals(sides):
    """Of the difference, as the sentence has them: over images, over seeds."""
    test = paired_bootstrap(*([run.predictions["acc1"] for run in side] for side in sides))
    first, second = ([run.metrics["test/acc1"] for run in side] for side in sides)
    apart = mean_interval(np.subtract(first, second))
    low, high = apart.mean - apart.half_width, apart.mean + apart.half_width
    over = f"{test.low:+.2f} to {test.high:+.2f} over test images, {low:+.2f} to {high:+.2f} over {apart.n} seeds"
    return f"{test.difference:+.2f} (95 % {over})"


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [((0.9, 0.6), "holds"), ((0.6, 0.9), "the opposite holds"), ((0.7, 0.701), "undecided")],
)
def test_accuracies_are_compared_on_the_same_images_and_over_seeds(shares, verdict):
    sides = [runs(share, seeds=3) for share in shares]
    said = str(judged(CLAIM, dict(zip(("ours", "plain"), sides, strict=True))))
    said, _, needed = said.removesuffix(".").partition("; ")
    assert said == f"Claimed order: 'ours' above 'plain' in test/acc1: {intervals(sides)}, {verdict}"
    assert bool(needed) is (verdict == "undecided")


def test_what_is_undecided_says_how_many_images_would_decide():
    sides = [runs(share, seeds=3) for share in (0.72, 0.7)]
    gain = np.subtract(*(np.mean([run.predictions["acc1"] for run in side], axis=0) for side in sides))
    expected = (2.80159 * gain.std() / gain.mean()) ** 2  # 1.95996 + 0.84162
    said = str(judged(CLAIM, dict(zip(("ours", "plain"), sides, strict=True))))
    counted = re.search(r"so small a difference takes ([\d,]+) test images and [\d,]+ seeds\.$", said)[1]
    assert int(counted.replace(",", "")) == pytest.approx(expected, rel=0.1)  # the interval is a bootstrap's


@pytest.mark.parametrize(("gains", "verdict"), [((5.0, 6.0, 5.5), "holds"), ((16.0, 0.4, 0.1), "undecided")])
def test_seeds_that_differ_leave_open_what_the_images_would_decide(gains, verdict):
    """Images alone speak of the networks at hand: the mean is 5.5 points of 2,000 images both times."""
    plain = np.arange(2000) < 1000
    ours = [np.arange(2000) < 1000 + 20 * gain for gain in gains]
    sides = [[RunResult({"test/acc1": 100 * right.mean()}, {}, seed, Predictions({"acc1": right}))
              for seed, right in enumerate(side)] for side in (ours, [plain] * 3)]  # fmt: skip
    found = judged(CLAIM, dict(zip(("ours", "plain"), sides, strict=True)))
    assert found.difference == pytest.approx(5.5) and found.p_value < 0.001 and found.verdict == verdict
    assert [spread.significant for spread in found.spreads] == [True, verdict == "holds"]
    assert ("seeds." in str(found)) is (verdict == "undecided") and "images and" not in str(found)


def test_seeds_that_say_the_opposite_of_the_images_leave_it_open():
    """As where each seed's runs do not see the images that the rows share: nothing is decided by half of it."""
    sides = [runs(share, seeds=3) for share in (0.9, 0.6)]
    turned = [RunResult({"test/acc1": 10.0 + run.seed}, {}, run.seed, run.predictions) for run in sides[0]]
    assert judged(CLAIM, {"ours": turned, "plain": sides[1]}).verdict == "undecided"


@pytest.mark.parametrize("mark", ["module shut", "not learned"])
def test_networks_that_have_not_learned_are_no_evidence(mark):
    sides = {"ours": runs(0.9, seeds=3), "plain": runs(0.6, seeds=3, health=f"{mark}: why")}
    said = str(judged(CLAIM, sides))
    assert said.endswith(f", no evidence; 'plain': {mark}: 3 of 3 runs.")
    assert judged(CLAIM, sides | {"plain": runs(0.6, seeds=3, health="module idle: why")}).verdict == "holds"


def test_what_is_undecided_says_how_many_seeds_would_decide():
    values = [3.0, -3.0, 1.0]
    one = [RunResult({"test/mean": 50 + value}, {}, seed) for seed, value in enumerate(values)]
    other = [RunResult({"test/mean": 50.0}, {}, seed) for seed in range(3)]
    said = str(judged(Claim("ours", "plain", "test/mean"), {"ours": one, "plain": other}))
    assert said.endswith("takes 660 seeds.")  # (2.80159 * 3.0551 / 0.3333)^2 = 659.4


def test_one_seed_each_is_mcnemars_test_and_says_nothing_of_others():
    one, other = runs(0.9), runs(0.6)
    test = mcnemar(*(side[0].predictions["acc1"] for side in (one, other)))
    said = str(judged(CLAIM, {"ours": one, "plain": other}))
    assert said.endswith(
        f"{test.difference:+.2f} points, undecided (p < 0.001); one seed each says nothing of others."
    ) and test.p_value < 0.001  # fmt: skip


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([3.0, 3.2, 2.9], "holds"), ([-3.0, -3.2, -2.9], "the opposite holds"), ([3.0, -3.0, 1.0], "undecided")],
)
def test_other_quantities_are_compared_seed_by_seed(values, verdict):
    one = [RunResult({"test/mean": 50 + value}, {}, seed) for seed, value in enumerate(values)]
    other = [RunResult({"test/mean": 50.0}, {}, seed) for seed in range(5)]
    interval = mean_interval(values)
    low, high = interval.mean - interval.half_width, interval.mean + interval.half_width
    said = str(judged(Claim("ours", "plain", "test/mean"), {"ours": one, "plain": other}))
    needed = "; at a power of 80 % so small a difference takes 660 seeds" if verdict == "undecided" else ""
    assert said.endswith(f"{interval.mean:+.2f} (95 % {low:+.2f} to {high:+.2f} over 3 seeds), {verdict}{needed}.")


def test_what_was_not_run_is_said():
    assert str(judged(CLAIM, {"ours": runs(0.9)})).endswith("in test/acc1: not measured.")
    one_seed = {name: [RunResult({"x": 1.0}, {}, 0)] for name in ("ours", "plain")}
    assert str(judged(Claim("ours", "plain", "x"), one_seed)).endswith("not measured with two seeds of both.")


TABLE = """
title: t
source: s
overrides: [a=1]
columns: [{key: test/acc1, name: Top-1}]
rows: [{name: a, overrides: [b=1]}, {name: b, overrides: [b=2]}]
"""


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ("[{better: a, than: c}]", "claims: no row 'c'; the rows are a, b"),
        ("[{better: a, than: b, column: x}]", "claims: no column 'x'; the columns are test/acc1"),
        ("[{better: a}]", "claims: than is missing"),
        ("[{better: a, than: b, by: 3}]", "claims: unknown key by; allowed are better, than, column"),
    ],
)
def test_a_claim_names_rows_and_a_column_of_its_table(tmp_path, claims, message):
    (tmp_path / "t.yaml").write_text(f"{TABLE}claims: {claims}\n")
    with pytest.raises(InputError, match=message):
        load_table(tmp_path, "t")
    (tmp_path / "t.yaml").write_text(f"{TABLE}claims: [{{better: a, than: b}}]\n")
    assert load_table(tmp_path, "t").claims == (Claim("a", "b", "test/acc1"),)


REPORTED = """
title: t
source: s
baseline: plain
columns: [{key: test/error1}, {key: test/acc1}]
rows:
  - {name: plain, overrides: [b=1], reported: {test/acc1: 90.0, test/error1: 10.0}}
  - {name: ours, overrides: [b=2], reported: {test/acc1: 92.5}}
  - {name: worse, overrides: [b=3], reported: {test/error1: 11.0}}
  - {name: unknown, overrides: [b=4]}
"""


def test_where_no_claim_is_stated_the_reported_order_is_one(tmp_path):
    (tmp_path / "t.yaml").write_text(REPORTED)
    assert claims_of(load_table(tmp_path, "t")) == [
        (Claim("ours", "plain", "test/acc1"), 2.5),
        (Claim("plain", "worse", "test/error1"), -1.0),
    ]
    (tmp_path / "t.yaml").write_text(f"{REPORTED}claims: [{{better: ours, than: unknown}}]\n")
    assert claims_of(load_table(tmp_path, "t")) == [(Claim("ours", "unknown"), None)]


def test_of_errors_the_lower_is_ahead():
    sides = {"ours": [RunResult({"test/error1": e}, {}, s) for s, e in enumerate((5.0, 5.2, 4.9))],
             "plain": [RunResult({"test/error1": 9.0}, {}, s) for s in range(3)]}  # fmt: skip
    found = judged(Claim("ours", "plain", "test/error1"), sides, -3.0)
    assert (found.verdict, found.order, found.reported, found.spreads[0].count) == ("holds", "below", -3.0, 3)
