"""What the document of results says of calibration: the modules of each table, measure by measure, and in words."""

from collections.abc import Sequence

from zoomexp.results.filling import FilledTable
from zoomexp.results.first_page import markdown_table
from zoomexp.results.module_calibration import CHANGES, MEASURES, SAME, SEEDS, UNDECIDED, ModuleCalibration
from zoomexp.results.rendering import MARKDOWN, escaped

ABOUT = (
    f"Of every table whose rows and baselines have {SEEDS} seeds or more: the difference to the baseline, seed by "
    "seed, with its 95 % interval over seeds. All measures are the better the lower; T: at the temperature that the "
    "run's held-out images fit, where the record has one. Log-likelihood, Brier score and the risk-coverage area "
    "(AURC) also fall with every image more that is right. A measure changes where the p value, corrected over the "
    "table's rows (Holm), is below 0.05 (bold); it does not where the whole interval lies inside the baseline's own "
    "over seeds, so that what there may be is less than seed noise; else it is undecided."
)


def section(tables: Sequence[FilledTable]) -> list[str]:
    """Markdown, part by part; none where no table has the seeds."""
    told = [table for table in tables if table.calibration]
    if not told:
        return []
    every = [one for table in told for one in table.calibration]
    counts = ", ".join(f"{kind} {sum(one.verdict == kind for one in every)}" for kind in (CHANGES, SAME, UNDECIDED))
    parts = ["## Which modules change calibration", ABOUT, f"Of {len(every)} rows: {counts}."]
    for table in told:
        rows = [_cells(one) for one in table.calibration]
        headings = ("Row", *(f"{quantity.heading} ({quantity.unit})" if quantity.unit else quantity.heading
                             for quantity in MEASURES), "Verdict")  # fmt: skip
        parts += [f"### Calibration \\[{table.name}, scale={table.scale}\\]", markdown_table(headings, rows)]
        if decided := [one for one in table.calibration if one.verdict != UNDECIDED]:
            parts.append("\n".join(f"- {escaped(one.sentence(), MARKDOWN)}" for one in decided))
    return parts


def _cells(one: ModuleCalibration) -> list[str]:
    found = {moved.quantity.key: moved for moved in one.moved}
    cells = []
    for quantity in MEASURES:
        moved = found.get(quantity.key)
        text = "-" if moved is None else escaped(str(moved), MARKDOWN)
        cells.append(f"**{text}**" if moved is not None and moved.verdict == CHANGES else text)
    return [escaped(one.row, MARKDOWN), *cells, one.verdict]
