"""What the document of results says of calibration: the modules of each table, measure by measure, and in words."""

from collections import Counter
from collections.abc import Mapping, Sequence

from zoomexp.results.filling import FilledTable
from zoomexp.results.first_page import markdown_table
from zoomexp.results.module_calibration import CHANGES, MEASURES, SAME, SEEDS, UNDECIDED, ModuleCalibration, told_once
from zoomexp.results.rendering import MARKDOWN, escaped

ABOUT = (
    f"Of every table whose rows and baselines have {SEEDS} seeds or more: the difference to the baseline, seed by "
    "seed, with its 95 % interval over seeds. All measures are the better the lower; T: at the temperature that the "
    "run's held-out images fit, where the record has one. Log-likelihood, Brier score and the risk-coverage area "
    "(AURC) also fall with every image more that is right. A measure changes where the p value, corrected over all of "
    "the table's rows and measures (Holm), is below 0.05 (bold); it does not where the whole interval lies inside the "
    "baseline's own over seeds, so that what there may be is less than seed noise; else it is undecided. A row changes "
    "if any measure does; after its verdict stands which measures that rests on, raw ones, those at T, or both. Rows "
    "that show the same runs as a row before them are not tested again."
)

BASES = {"raw": "raw measures alone", "T": "measures at T alone", "raw and T": "both"}


def section(tables: Sequence[FilledTable]) -> list[str]:
    """Markdown, part by part; none where no table has the seeds."""
    calibrations = told_once(
        {f"{table.name}, scale={table.scale}": table.calibration for table in tables if table.calibration}
    )
    if not calibrations:
        return []
    parts = ["## Which modules change calibration", ABOUT, _counts(calibrations)]
    for name, found in calibrations.items():
        headings = ("Row", *(f"{quantity.heading} ({quantity.unit})" if quantity.unit else quantity.heading
                             for quantity in MEASURES), "Verdict")  # fmt: skip
        table = markdown_table(headings, [_cells(one) for one in found])
        parts += [f"### Calibration \\[{name}\\]", table]
        if decided := [one for one in found if one.verdict != UNDECIDED and not one.repeats]:
            parts.append("\n".join(f"- {escaped(one.sentence(), MARKDOWN)}" for one in decided))
    return parts


def _counts(calibrations: Mapping[str, Sequence[ModuleCalibration]]) -> str:
    """How many rows there are of each verdict, each run counted once, and how many changes chance alone would show."""
    rows = [one for found in calibrations.values() for one in found]
    tested = [one for one in rows if not one.repeats]
    counts = ", ".join(f"{kind} {sum(one.verdict == kind for one in tested)}" for kind in (CHANGES, SAME, UNDECIDED))
    bases = Counter(one.basis for one in tested if one.verdict == CHANGES)
    resting = ", ".join(f"{bases[kind]} by {told}" for kind, told in BASES.items() if bases[kind])
    again = f" ({len(rows) - len(tested)} more show the same runs as one of these)" if len(tested) < len(rows) else ""
    families = sum(any(not one.repeats for one in found) for found in calibrations.values())
    return (
        f"Of {len(tested)} rows{again}: {counts}.{f' Changes: {resting}.' if resting else ''} Tables: {families}; were "
        f"there nothing in any, at most {0.05 * families:.2g} of them would be expected to have a row that changes."
    )


def _cells(one: ModuleCalibration) -> list[str]:
    found = {moved.quantity.key: moved for moved in one.moved}
    cells = []
    for quantity in MEASURES:
        moved = found.get(quantity.key)
        text = "-" if moved is None else escaped(str(moved), MARKDOWN)
        bold = moved is not None and moved.verdict == CHANGES and not one.repeats
        cells.append(f"**{text}**" if bold else text)
    verdict = f"same runs as {one.repeats}" if one.repeats else f"{one.verdict} ({one.basis})"
    return [escaped(one.row, MARKDOWN), *cells, escaped(verdict, MARKDOWN)]
