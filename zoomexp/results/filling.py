"""Puts measured runs into a paper's table: mean and interval per cell, a paired test per row, a verdict per cell."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import cast

from zoomexp.errors import InputError
from zoomexp.health.findings import CUT_OFF, NOT_LEARNED, worst_mark
from zoomexp.metrics.declared import ACC1
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.claims import Judgement, claims_of, judged
from zoomexp.results.comparison import compare
from zoomexp.results.derived import declared, value_of
from zoomexp.results.module_calibration import ModuleCalibration, calibration_of
from zoomexp.results.predictions import Predictions
from zoomexp.results.statistics import Interval, PairedTest, holm, mean_interval
from zoomexp.results.table import Column, Figure, Row, Table

REPRODUCED, DIFFERS, NOT_RUN = "reproduced", "differs", "not run"
NO_REPORTED, ONE_SEED, NOT_COMPARABLE = "no reported value", "one seed: no interval", "not comparable: "
NOT_RECORDED = "the run records do not hold this quantity"


@dataclass(frozen=True)
class RunResult:
    """What a table needs of one finished run.

    Args:
        metrics: by full name.
        cost: the record's cost entry.
        seed: the run's.
        predictions: what it said of each test image.
        git_sha: the commit it was made by.
        folder: where it lies.
        main: key of its task's main quantity.
        quantities: those that its task declares beside the package's.
        health: what its monitor found (`health.findings.told`); empty for a run that is well.
        changed: which data or code have changed since (`results.origin.changes`); None where the record does not say
            what it was made from.
    """

    metrics: Mapping[str, float]
    cost: Mapping[str, object]
    seed: int
    predictions: Predictions = field(default_factory=lambda: Predictions({}))
    git_sha: str = ""
    folder: str = ""
    health: str = ""
    changed: str | None = None
    main: str = ACC1.key
    quantities: tuple[Quantity, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One column of one row: what was reported, what was measured, and what may be said of the two.

    `p_value` is Holm-corrected over the table's rows; `difference` (row minus baseline, in the column's unit) and its
    interval belong to the test named in `test`. `mark` says of the worst mark (`health.findings`) how
    many of the `n` runs have it.
    """

    column: Column
    reported: float | None
    verdict: str
    mean: float | None = None
    half_width: float | None = None
    n: int = 0
    stale: bool = False
    p_value: float | None = None
    test: PairedTest | None = None
    mark: str = ""

    @property
    def interval(self) -> Interval:
        """Of a cell that was measured: over its seeds."""
        return Interval(cast(float, self.mean), self.half_width, self.n)


@dataclass(frozen=True)
class FilledRow:
    """A row with its cells in the order of the table's columns."""

    name: str
    cells: tuple[Cell, ...]
    caveats: tuple[str, ...] = ()
    baseline: str | None = None
    setting: float | None = None  # of the figure's `over`
    curve: str = ""  # of the figure's `by`
    runs: bool = True  # whether it can be run


@dataclass(frozen=True)
class FilledTable:
    """A table ready to be shown; nothing in it depends on how.

    `caveats` begin with what became of its claims and end with what the runs were made by. `judgements` are of the
    claims, or of the orders that the paper reports, see `claims.claims_of`; `calibration` says what its rows do to how
    sure their baselines are; `other_data`, that the scale has other data than the paper.
    """

    name: str
    title: str
    source: str
    scale: str
    rows: tuple[FilledRow, ...]
    caveats: tuple[str, ...] = ()
    git_sha: str = ""
    figure: Figure | None = None
    judgements: tuple[Judgement, ...] = ()
    calibration: tuple[ModuleCalibration, ...] = ()
    other_data: bool = False

    @property
    def measured_at(self) -> str:
        """The scale, and whether its data are others than the paper's, of which title and source speak."""
        return f"scale={self.scale}{', another data set' if self.other_data else ''}"

    def counts(self) -> dict[str, int]:
        """How many cells there are, and how many are reported, measured and reproduced."""
        cells = [cell for row in self.rows for cell in row.cells]
        return {
            "cells": len(cells),
            "reported": sum(cell.reported is not None for cell in cells),
            "measured": sum(cell.n > 0 for cell in cells),
            "reproduced": sum(cell.verdict == REPRODUCED for cell in cells),
        }


def verdict(reported: float | None, values: Sequence[float], comparable_reason: str | None = None) -> str:
    """What a cell may claim.

    Without runs nothing; without a reported value there is nothing to compare; then come the reasons that forbid a
    comparison; one seed has no interval to be inside of. The paper's value has been rounded, and so have parameters and
    the work of a network, whose interval has no width: the interval is half a unit of the last reported digit wider.

    Args:
        reported: the paper's value, or None where it is not known.
        values: the measured value of each seed.
        comparable_reason: why the two must not be compared, or None where they may be.

    >>> verdict(91.4, [91.3, 91.6]), verdict(95.0, [91.3, 91.6, 91.4]), verdict(91.4, [91.4])
    ('reproduced', 'differs', 'one seed: no interval')
    >>> verdict(4.6, [4.6079, 4.6079]), verdict(4.6, [4.66, 4.66])
    ('reproduced', 'differs')
    >>> verdict(91.4, []), verdict(None, [91.4]), verdict(91.4, [80.0, 81.0], "shortened schedule (scale=small)")
    ('not run', 'no reported value', 'not comparable: shortened schedule (scale=small)')
    """
    if len(values) == 0:
        return NOT_RUN
    if reported is None:
        return NO_REPORTED
    if comparable_reason:
        return NOT_COMPARABLE + comparable_reason
    if len(values) == 1:
        return ONE_SEED
    return REPRODUCED if mean_interval(values).contains(reported, half_a_unit(reported)) else DIFFERS


def half_a_unit(reported: float) -> float:
    """How far the value that was rounded to a reported one may be from it: half a unit of its last digit.

    >>> half_a_unit(91.4), half_a_unit(0.31), half_a_unit(1000)
    (0.05, 0.005, 0.5)
    """
    return 0.5 * 10.0 ** min(0, cast(int, Decimal(str(reported)).as_tuple().exponent))


def fill(table: Table, runs: Mapping[str, Sequence[RunResult]], scale: str, git_sha: str) -> FilledTable:
    """Fills a table.

    Args:
        table: the table.
        runs: row name -> its finished runs, one per seed; a row without runs may be left out.
        scale: the scale the runs were made at.
        git_sha: the commit of now.
    """
    for name, results in runs.items():
        table.row(name)
        if len({result.seed for result in results}) != len(results):
            raise InputError(f"{table.name}, row {name!r}: two runs have the same seed")
    repeats = _repeats(table, runs)
    found = [_tests(table, column, runs, repeats) for column in table.columns]
    rows = []
    for i, row in enumerate(table.rows):
        results = runs.get(row.name, ())
        cells = tuple(
            _cell(table, row, column, results, scale, git_sha, tests[i])
            for column, tests in zip(table.columns, found, strict=True)
        )
        baseline = table.baseline_of(row)
        drawn = (table.figure.setting(row), table.figure.curve(row)) if table.figure else (None, "")
        tested = baseline.name if baseline else None
        caveats = _caveats(row, results, repeats.get(row.name))
        rows.append(FilledRow(row.name, cells, caveats, tested, *drawn, runs=not row.unavailable))
    judgements = tuple(judged(claim, runs, reported) for claim, reported in claims_of(table))
    caveats = (*(str(one) for one in judgements if one.claim in table.claims), *table.caveats, *_made_by(runs))
    return FilledTable(
        table.name, table.title, table.source, scale, tuple(rows), caveats, git_sha, table.figure, judgements,
        calibration_of(table, runs, repeats), table.other_data(scale),
    )  # fmt: skip


def _cell(
    table: Table,
    row: Row,
    column: Column,
    results: Sequence[RunResult],
    scale: str,
    git_sha: str,
    found: tuple[float | None, PairedTest | None],
) -> Cell:
    reported, reason = row.reported.get(column.key), table.incomparable(row, column, scale)
    measured = [value_of(column.key, result.metrics, result.cost) for result in results]
    if not results or None in measured:
        missing = NO_REPORTED if reported is None else NOT_COMPARABLE + NOT_RECORDED
        return Cell(column, reported, missing if results else NOT_RUN)
    values = cast(list[float], measured)
    interval = mean_interval(values)
    stale = any(is_stale(result, git_sha) for result in results)
    mark = worst_mark([result.health for result in results])
    text = mark if mark.startswith((NOT_LEARNED, CUT_OFF)) else verdict(reported, values, reason)
    return Cell(column, reported, text, interval.mean, interval.half_width, interval.n, stale, *found, mark)


def is_stale(result: RunResult, git_sha: str) -> bool:
    """Whether a run was made from other data or code; of one that does not say, whether by another commit."""
    return result.git_sha != git_sha if result.changed is None else bool(result.changed)


def _repeats(table: Table, runs: Mapping[str, Sequence[RunResult]]) -> dict[str, str]:
    """Rows whose runs are those of a row before them, as where a scale makes them the same network, and that row."""
    first: dict[frozenset[str], str] = {}
    repeats = {}
    for row in table.rows:
        folders = frozenset(run.folder for run in runs.get(row.name, ()))
        if all(folders) and folders and first.setdefault(folders, row.name) != row.name:
            repeats[row.name] = first[folders]
    return repeats


def _tests(
    table: Table, column: Column, runs: Mapping[str, Sequence[RunResult]], repeats: Container[str]
) -> list[tuple[float | None, PairedTest | None]]:
    """Each row against its baseline in one column, with the p value corrected over the rows; None where none can be.

    A row that repeats one before it is not tested a second time: it would count twice in the correction.
    """
    known = [quantity for results in runs.values() for run in results for quantity in run.quantities]
    meant, tests = declared(column.key, known), []
    for row in table.rows:
        baseline = table.baseline_of(row)
        sides = [[run.predictions for run in runs.get(one.name, ())] for one in (row, baseline) if one is not None]
        tests.append(compare(column.key, meant, *sides) if baseline and row.name not in repeats else None)
    return list(zip(holm([test.p_value if test else None for test in tests]), tests, strict=True))


def _made_by(runs: Mapping[str, Sequence[RunResult]]) -> list[str]:
    """One line per commit and processor that runs were made by and on."""
    places: dict[tuple[str, str], int] = {}
    for run in {run.folder: run for results in runs.values() for run in results if run.folder}.values():
        device = " ".join(filter(None, (str(run.cost.get("device") or ""), str(run.cost.get("instruction_set") or ""))))
        place = (device or "an unknown processor", run.git_sha[:7] or "no commit")
        places[place] = places.get(place, 0) + 1
    return [f"{n} runs on {device}, commit {sha}." for (device, sha), n in sorted(places.items())]


def _caveats(row: Row, results: Sequence[RunResult], repeated: str | None) -> tuple[str, ...]:
    """The table's own, which row it repeats, and what the monitor found in the row's runs."""
    unavailable = [f"Not available: {row.unavailable}"] if row.unavailable else []
    health = [f"Seed {result.seed} of {row.name}: {result.health}." for result in results if result.health]
    same = [f"At this scale the same runs as {repeated!r}, not tested a second time."] if repeated else []
    return (*row.caveats, *unavailable, *same, *health, *_stale(results))


def _stale(results: Sequence[RunResult]) -> list[str]:
    """What changed since runs were finished, one note for runs that went stale alike: rows that wholly did share it."""
    seeds: dict[str, list[str]] = {}
    for run in results:
        if run.changed:
            seeds.setdefault(run.changed, []).append(str(run.seed))
    return [
        f"Stale{'' if len(found) == len(results) else ', seed ' + ', '.join(found)}: {text} changed since."
        for text, found in seeds.items()
    ]
