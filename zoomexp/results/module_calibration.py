"""Which modules change how sure a network is, beyond what another seed does: said of every table that has the seeds.

Both rows have the same seeds, so each seed gives a difference to the baseline, and Student's paired t test over them an
interval. A row is looked at by several measures and is said to change if any does, so p values are corrected over all
of a table's rows and measures together (Holm): were nothing there, one table in twenty would have a row that "changes".
Of each measure

    changes           the corrected p value is below 0.05
    does not change   the interval lies inside the baseline's own over seeds: what there may be is less than seed noise
    undecided         neither

and a row changes calibration if it changes any measure, and does not if it changes none of those that were measured.
Rows of several tables that show the same runs are one finding, and count where they come first.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from zoomexp.metrics.declared import AURC, BRIER, BRIER_T, ECE, ECE_T, NLL, NLL_T
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.derived import by_seed
from zoomexp.results.statistics import PairedTest, holm, mean_interval, p_text, paired_t

if TYPE_CHECKING:
    from zoomexp.results.filling import RunResult
    from zoomexp.results.table import Table

SEEDS = 3  # of both rows, at least
RAW, AT_TEMPERATURE = (ECE, NLL, BRIER, AURC), (ECE_T, NLL_T, BRIER_T)
MEASURES = (*RAW, *AT_TEMPERATURE)
CHANGES, SAME, UNDECIDED = "changes", "does not change", "undecided"


@dataclass(frozen=True)
class Moved:
    """What a module does to one measure.

    Args:
        quantity: The measure.
        pairs: The values of the row and of its baseline, seed by seed.
        test: Row minus baseline over the seeds, with its interval.
        p_value: Corrected over the table's rows and measures; that of `test` is not.
        noise: Half width of the baseline's own interval over the same seeds.
    """

    quantity: Quantity
    pairs: tuple[tuple[float, float], ...]
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
    """What one row of a table does to the calibration of its baseline; `moved` has the measures that both rows have.

    `repeats` names the row, and its table, that shows the same runs before this one; empty where none does.
    """

    row: str
    baseline: str
    seeds: int
    moved: tuple[Moved, ...]
    repeats: str = ""

    @property
    def verdict(self) -> str:
        """CHANGES, SAME or UNDECIDED."""
        found = {one.verdict for one in self.moved}
        return CHANGES if CHANGES in found else UNDECIDED if UNDECIDED in found else SAME

    @property
    def basis(self) -> str:
        """Which measures the verdict rests on, those that change or else all: "raw", "T" or "raw and T"."""
        resting = [one for one in self.moved if one.verdict == CHANGES] or self.moved
        kinds = {"raw": RAW, "T": AT_TEMPERATURE}
        return " and ".join(name for name, kind in kinds.items() if any(one.quantity in kind for one in resting))

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
    found = []
    for row in table.rows:
        baseline = table.baseline_of(row)
        if baseline is None or row.name in repeats:
            continue
        one, other = (runs.get(each.name, ()) for each in (row, baseline))
        all_moved = (_moved(quantity, by_seed(f"test/{quantity.key}", one, other)) for quantity in MEASURES)
        if moved := tuple(one for one in all_moved if one is not None):
            found.append(ModuleCalibration(row.name, baseline.name, len(moved[0].pairs), moved))
    return corrected(found)


def corrected(rows: Sequence[ModuleCalibration]) -> tuple[ModuleCalibration, ...]:
    """The rows with p values corrected over all of them and all their measures (Holm)."""
    p_values = iter(holm([one.test.p_value for row in rows for one in row.moved]))
    return tuple(
        replace(row, moved=tuple(replace(one, p_value=cast(float, next(p_values))) for one in row.moved))
        for row in rows
    )


def told_once(tables: Mapping[str, Sequence[ModuleCalibration]]) -> dict[str, tuple[ModuleCalibration, ...]]:
    """The rows of several tables by name; of those with the same runs all but the first are `repeats`.

    What repeats is not tested again, so the others of its table are corrected without it.
    """
    first: dict[object, str] = {}
    found = {}
    for name, rows in tables.items():
        marked = []
        for row in rows:
            numbers = tuple((one.quantity.key, one.pairs) for one in row.moved)
            marked.append(replace(row, repeats=first.get(numbers, "")))
            first.setdefault(numbers, f"{row.row} of {name}")
        tested = iter(corrected([row for row in marked if not row.repeats]))
        found[name] = tuple(row if row.repeats else next(tested) for row in marked)
    return found


def _moved(quantity: Quantity, pairs: Sequence[tuple[float, float]]) -> Moved | None:
    """A row against its baseline by one measure, not corrected yet; None where the seeds are too few."""
    if len(pairs) < SEEDS:
        return None
    values, before = zip(*pairs, strict=True)
    test, noise = paired_t(values, before), mean_interval(before).half_width
    return Moved(quantity, tuple(pairs), test, test.p_value, cast(float, noise))
