"""What a module does to calibration: the interval and p value against scipy's paired t test, seed by seed."""

import numpy as np
import pytest
from scipy import stats

from zoomexp.results.calibration_page import section
from zoomexp.results.filling import RunResult, fill
from zoomexp.results.module_calibration import CHANGES, MEASURES, SAME, UNDECIDED, calibration_of
from zoomexp.results.statistics import holm
from zoomexp.results.table import Column, Row, Table

TABLE = Table(
    "paper/table", "title", "source", (Column("test/acc1", "Top-1"),),
    (Row("plain"), Row("shift"), Row("still"), Row("loose"), Row("two seeds")), baseline="plain",
)  # fmt: skip
PLAIN = {0: 10.0, 1: 12.0, 2: 11.0, 3: 13.0}
VALUES = {
    "plain": PLAIN,
    "shift": {seed: value + 5 + 0.1 * seed for seed, value in PLAIN.items()},
    "still": {seed: value + (-1) ** seed * 0.02 for seed, value in PLAIN.items()},
    "loose": {seed: value + 4 * (-1) ** (seed // 2) + 1 for seed, value in PLAIN.items()},
    "two seeds": {0: 3.0, 1: 4.0},
}


def runs_of(values, **more):
    return {
        row: [RunResult({"test/ece": value, "test/acc1": 90.0, **more.get(row, {})}, {}, seed)
              for seed, value in reversed(seeds.items())]
        for row, seeds in values.items()
    }  # fmt: skip


def test_each_measure_is_the_paired_t_test_over_common_seeds_corrected_over_rows():
    found = {one.row: one for one in calibration_of(TABLE, runs_of(VALUES))}
    assert list(found) == ["shift", "still", "loose"]  # two seeds are too few
    sides = {row: ([VALUES[row][seed] for seed in range(4)], list(PLAIN.values())) for row in found}
    tests = {row: stats.ttest_rel(*pair) for row, pair in sides.items()}
    corrected = dict(zip(tests, holm([test.pvalue for test in tests.values()]), strict=True))
    half = stats.t.ppf(0.975, 3) * np.std(list(PLAIN.values()), ddof=1) / 2
    for row, one in found.items():
        (moved,) = one.moved
        interval = tests[row].confidence_interval()
        assert (moved.quantity.key, one.seeds, one.baseline) == ("ece", 4, "plain")
        assert (moved.test.low, moved.test.high) == pytest.approx((interval.low, interval.high))
        assert moved.p_value == pytest.approx(corrected[row])
        assert moved.noise == pytest.approx(half)
    assert {row: one.verdict for row, one in found.items()} == {"shift": CHANGES, "still": SAME, "loose": UNDECIDED}


def test_the_sentences():
    said = [one.sentence() for one in calibration_of(TABLE, runs_of(VALUES))]
    assert said[0].startswith(
        "shift, against plain over 4 seeds: changes calibration (ece +5.15 (+4.94 to +5.36), worse, p"
    )
    assert said[1] == (
        "still, against plain over 4 seeds: does not change calibration; what there may be is less than seed noise."
    )
    assert said[2] == "loose, against plain over 4 seeds: undecided in ece."


def test_a_row_changes_if_any_measure_does():
    values = {row: VALUES[row] for row in ("plain", "still")}
    runs = runs_of(values)
    for row, shift in (("plain", 0.0), ("still", -0.2)):
        for run in runs[row]:
            run.metrics["test/nll"] = 1 + 0.01 * run.seed**2 + shift + 1e-3 * run.seed * shift
    (one,) = calibration_of(TABLE, runs)
    assert [moved.verdict for moved in one.moved] == [SAME, CHANGES] and one.verdict == CHANGES
    assert "nll -0.200" in one.sentence() and "better" in one.sentence() and "(1 and 0)" in one.sentence()


def test_the_section_has_every_row_and_measure_of_tables_that_have_the_seeds():
    filled = fill(TABLE, runs_of(VALUES), "small", "")
    poor = fill(TABLE, {row: runs[:2] for row, runs in runs_of(VALUES).items()}, "small", "")
    assert section([poor]) == []
    heading, _, counts, name, table, sentences = section([poor, filled])
    assert heading == "## Which modules change calibration"
    assert counts == "Of 3 rows: changes 1, does not change 1, undecided 1."
    assert name == r"### Calibration \[paper/table, scale=small\]"
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]
    assert len(lines) == 2 + 3 and {len(line) for line in lines} == {2 + len(MEASURES)}
    assert (
        lines[2][0] == "shift" and lines[2][1] == "**+5.15 (+4.94 to +5.36)**" and lines[2][2:] == ["-"] * 6 + [CHANGES]
    )
    told = sentences.splitlines()  # nothing is said twice of the one that is undecided
    assert lines[3][1].startswith("+0.00 (") and [line.partition(",")[0] for line in told] == ["- shift", "- still"]


def test_equal_values_are_no_change():
    same = runs_of({"plain": PLAIN, "still": PLAIN})
    (one,) = calibration_of(TABLE, same)
    assert (one.moved[0].test.difference, one.moved[0].p_value, one.verdict) == (0, 1, SAME)
