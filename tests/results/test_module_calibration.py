"""What a module does to calibration: the interval and p value against scipy's paired t test, seed by seed."""

import numpy as np
import pytest
from scipy import stats

from zoomexp.results.calibration_page import section
from zoomexp.results.filling import RunResult, fill
from zoomexp.results.module_calibration import CHANGES, MEASURES, SAME, UNDECIDED, calibration_of, told_once
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


def test_each_measure_is_the_paired_t_test_over_common_seeds():
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
    assert counts == (
        "Of 3 rows: changes 1, does not change 1, undecided 1. Changes: 1 by raw measures alone. Tables: 1; "
        "were there nothing in any, at most 0.05 of them would be expected to have a row that changes."
    )
    assert name == r"### Calibration \[paper/table, scale=small\]"
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]
    assert len(lines) == 2 + 3 and {len(line) for line in lines} == {2 + len(MEASURES)}
    assert (
        lines[2][0] == "shift"
        and lines[2][1] == "**+5.15 (+4.94 to +5.36)**"
        and lines[2][2:] == ["-"] * 6 + [f"{CHANGES} (raw)"]
    )
    told = sentences.splitlines()  # nothing is said twice of the one that is undecided
    assert lines[3][1].startswith("+0.00 (") and [line.partition(",")[0] for line in told] == ["- shift", "- still"]


def test_equal_values_are_no_change():
    same = runs_of({"plain": PLAIN, "still": PLAIN})
    (one,) = calibration_of(TABLE, same)
    assert (one.moved[0].test.difference, one.moved[0].p_value, one.verdict) == (0, 1, SAME)


def two_measures() -> dict[str, list[RunResult]]:
    """Differences to plain over three seeds: of nll 1, 2, 3 and 1, 1.1, 1.2; of nll T 1, 2, 6 and 3, 3.1, 3.2."""
    differences = {
        "plain": ((0, 0, 0), (0, 0, 0)),
        "one": ((1, 2, 3), (1, 2, 6)),
        "two": ((1, 1.1, 1.2), (3, 3.1, 3.2)),
    }
    return {
        row: [RunResult({"test/nll": 5 + seed / 4 + raw[seed], "test/nll_t": 4 + seed / 4 + scaled[seed]}, {}, seed)
              for seed in range(3)]
        for row, (raw, scaled) in differences.items()
    }  # fmt: skip


def table_of(name: str, *rows: str) -> Table:
    return Table(name, "title", "source", (Column("test/nll", "NLL"),), tuple(map(Row, rows)), baseline=rows[0])


def p_of(t: float) -> float:
    """Two-sided, of Student's t with 2 degrees of freedom, in closed form."""
    return 1 - t / np.sqrt(2 + t * t)


def test_p_values_are_corrected_over_rows_and_measures():
    """By hand t = mean / (spread / sqrt 3): 2 sqrt 3, 3 / sqrt(7 / 3), 1.1 / (0.1 / sqrt 3), 3.1 / (0.1 / sqrt 3)."""
    one, two = calibration_of(table_of("a/b", "plain", "one", "two"), two_measures())
    raw = [p_of(t) for t in (2 * 3**0.5, 3 / (7 / 3) ** 0.5, 11 * 3**0.5, 31 * 3**0.5)]
    assert [moved.test.p_value for row in (one, two) for moved in row.moved] == pytest.approx(raw)
    smallest_first = [raw[3] * 4, raw[2] * 3, raw[0] * 2, raw[1]]
    assert smallest_first == sorted(smallest_first)  # so Holm's running maximum changes none
    found = [two.moved[1].p_value, two.moved[0].p_value, one.moved[0].p_value, one.moved[1].p_value]
    assert found == pytest.approx(smallest_first)
    assert (one.verdict, two.verdict, two.basis) == (UNDECIDED, CHANGES, "raw and T")


def test_rows_of_the_same_runs_are_tested_once():
    runs = two_measures()
    first, second = table_of("a/first", "plain", "two"), table_of("a/second", "plain", "one", "two")
    by_name = {table.name: calibration_of(table, runs) for table in (first, second)}
    found = told_once(by_name)
    assert [row.repeats for row in found["a/second"]] == ["", "two of a/first"]
    alone = calibration_of(table_of("a/second", "plain", "one"), runs)
    assert [moved.p_value for moved in found["a/second"][0].moved] == [moved.p_value for moved in alone[0].moved]
    assert found["a/first"] == by_name["a/first"]
    shown = [(first, ("plain", "two")), (second, ("plain", "one", "two"))]
    parts = section([fill(table, {name: runs[name] for name in rows}, "small", "") for table, rows in shown])
    assert parts[2].startswith(
        "Of 2 rows (1 more show the same runs as one of these): changes 1, does not change 0, undecided 1. Changes: 1 "
        "by both. Tables: 2; were there nothing in any, at most 0.1 of them"
    )
    last = parts[-1].splitlines()[-1]
    assert "same runs as two of a/first, scale=small" in last and "**" not in last
