"""Which modules change how sure a network is, beyond what another seed does: said of every table that has the seeds.

Both rows have the same seeds, so each seed gives a difference to the baseline, and Student's paired t test over them an
interval; p values are corrected over the table's rows (Holm), as all of a table's tests. Of each measure

    changes           the corrected p value is below 0.05
    does not change   the interval lies inside the baseline's own over seeds: what there may be is less than seed noise
    undecided         neither

and a row changes calibration if it changes any measure, and does not if it changes none of those that were measured.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from zoomexp.metrics.declared import AURC, BRIER, BRIER_T, ECE, ECE_T, NLL, NLL_T
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.derived import value_of
from zoomexp.results.statistics import PairedTest, holm, mean_interval, p_text, paired_t

if TYPE_CHECKING:
    from zoomexp.results.filling import RunResult
    from zoomexp.results.table import Row, Table

SEEDS = 3  # of both rows, at least
MEASURES = (ECE, NLL, BRIER, AURC, ECE_T, NLL_T, BRIER_T)
CHANGES, SAME, UNDECIDED = "changes", "does not change", "undecided"


@dataclass(frozen=True)
class Moved:
    """What a module does to one measure.

    Args:
        quantity: The measure.
        test: Row minus baseline over the seeds, with its interval.
        p_value: Corrected over the table's rows.
        noise: Half width of the baseline's own interval over the same seeds.
    """

    quantity: Quantity
    test: PairedTest
    p_value: float
    noise: float

    @property
    def verdict(self) -> str:
        """CHANGES, SAME or UNDECIDED."""
        if self.p_value < 0.05:
            return CHANGES
        return (
            SAME if max(abs(cast(float, self.test.low)), abs(cast(float, self.test.high))) <= self.noise else UNDECIDED
        )

    @property
    def direction(self) -> str:
        """What a change is: all of them are the better the lower they are."""
        return "worse" if self.test.difference > 0 else "better"

    def __str__(self) -> str:
        """The difference with its interval."""
        low, high = cast(float, self.test.low), cast(float, self.test.high)
        number = f"{{:+,.{self.quantity.decimals}f}}".format
        return f"{number(self.test.difference)} ({number(low)} to {number(high)})"


@dataclass(frozen=True)
class ModuleCalibration:
    """What one row of a table does to the calibration of its baseline; `moved` has the measures that both rows have."""

    row: str
    baseline: str
    seeds: int
    moved: tuple[Moved, ...]

    @property
    def verdict(self) -> str:
        """CHANGES, SAME or UNDECIDED."""
        found = {one.verdict for one in self.moved}
        return CHANGES if CHANGES in found else UNDECIDED if UNDECIDED in found else SAME

    def sentence(self) -> str:
        """The verdict, and what it rests on."""
        by = {kind: [one for one in self.moved if one.verdict == kind] for kind in (CHANGES, SAME, UNDECIDED)}
        names = {kind: ", ".join(one.quantity.heading for one in found) for kind, found in by.items()}
        head = f"{self.row}, against {self.baseline} over {self.seeds} seeds"
        if by[CHANGES]:
            told = "; ".join(
                f"{one.quantity.heading} {one}, {one.direction}, {p_text(one.p_value)}" for one in by[CHANGES]
            )
            rest = f"; the others do not change or are undecided ({len(by[SAME])} and {len(by[UNDECIDED])})"
            return f"{head}: changes calibration ({told}{rest if by[SAME] or by[UNDECIDED] else ''})."
        if by[UNDECIDED]:
            rest = f"; less than seed noise in {names[SAME]}" if by[SAME] else ""
            return f"{head}: undecided in {names[UNDECIDED]}{rest}."
        return f"{head}: does not change calibration; what there may be is less than seed noise."


def calibration_of(
    table: "Table", runs: Mapping[str, Sequence["RunResult"]], repeats: Container[str] = ()
) -> tuple[ModuleCalibration, ...]:
    """What each row of a table does to its baseline's calibration; none of rows with fewer than SEEDS common seeds.

    Args:
        table: The table.
        runs: Row -> its finished runs, one per seed.
        repeats: Rows that are not tested, for their runs are those of another row.
    """
    tests = {quantity.key: _tests(table, quantity, runs, repeats) for quantity in MEASURES}
    found = []
    for i, row in enumerate(table.rows):
        moved = tuple(tests[quantity.key][i] for quantity in MEASURES)
        known = tuple(one for one in moved if one is not None)
        baseline = table.baseline_of(row)
        if known and baseline is not None:
            seeds = len(_common(row, baseline, known[0].quantity, runs))
            found.append(ModuleCalibration(row.name, baseline.name, seeds, known))
    return tuple(found)


def _tests(
    table: "Table", quantity: Quantity, runs: Mapping[str, Sequence["RunResult"]], repeats: Container[str]
) -> list[Moved | None]:
    """Each row against its baseline by one measure; None where the seeds are too few."""
    tests: list[tuple[PairedTest, float] | None] = []
    for row in table.rows:
        baseline = table.baseline_of(row)
        pairs = _common(row, baseline, quantity, runs) if baseline is not None else []
        enough = len(pairs) >= SEEDS and row.name not in repeats
        before = [pair[1] for pair in pairs]
        noise = mean_interval(before).half_width if enough else None
        tests.append(None if noise is None else (paired_t([pair[0] for pair in pairs], before), noise))
    corrected = holm([test[0].p_value if test else None for test in tests])
    return [
        Moved(quantity, test[0], cast(float, p), test[1]) if test else None
        for test, p in zip(tests, corrected, strict=True)
    ]


def _common(
    row: "Row", baseline: "Row", quantity: Quantity, runs: Mapping[str, Sequence["RunResult"]]
) -> list[tuple[float, float]]:
    """The values of the row and of its baseline, seed by seed."""
    one, other = (
        {run.seed: value_of(f"test/{quantity.key}", run.metrics, run.cost) for run in runs.get(each.name, ())}
        for each in (row, baseline)
    )
    both = ((one[seed], other[seed]) for seed in sorted(one) if seed in other)
    return [(a, b) for a, b in both if a is not None and b is not None]
