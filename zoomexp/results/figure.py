"""A table's figure: one column against another, a point for each row, with intervals, rows of one series joined."""

from pathlib import Path
from typing import Any, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from zoomexp.results.filling import Cell, FilledTable
from zoomexp.results.table import Figure as TableFigure

# Text stays text, and the same numbers give the same file.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "zoomexp", "font.size": 9}
MARKERS = "os^Dv<>Pp*Xhd8"
WIDE = 10  # the x axis is logarithmic where its largest value is more than so many times the smallest


def draw(filled: FilledTable, path: Path) -> Path | None:
    """Write the table's figure as SVG; returns the path, or None where fewer than two rows have been measured.

    Rows whose names begin alike up to the first comma ("ToMe, r 6", "ToMe, r 11") are one series, and joined.

    Args:
        filled: a table with a figure.
        path: the file; its folder is made.
    """
    measured = series(filled)
    if sum(map(len, measured.values())) < 2:
        return None
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 5), layout="constrained")
        axes = canvas.add_subplot()
        for i, (name, points) in enumerate(measured.items()):
            _draw_series(axes, name, points, i)
        _label(axes, filled)
        _scale(axes, [cast(float, x.mean) for points in measured.values() for x, _ in points])
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, metadata={"Date": None})
    return path


def series(filled: FilledTable) -> dict[str, list[tuple[Cell, Cell]]]:
    """Cells of x and y by series, those of each from the smallest x on."""
    axes = cast(TableFigure, filled.figure)
    found: dict[str, list[tuple[Cell, Cell]]] = {}
    for row in filled.rows:
        cells = {cell.column.key: cell for cell in row.cells}
        x, y = cells[axes.x], cells[axes.y]
        if x.mean is not None and y.mean is not None:
            found.setdefault(row.name.partition(",")[0], []).append((x, y))
    return {name: sorted(points, key=lambda point: cast(float, point[0].mean)) for name, points in found.items()}


def _draw_series(axes: Axes, name: str, points: list[tuple[Cell, Cell]], number: int) -> None:
    xs, ys = [cast(float, x.mean) for x, _ in points], [cast(float, y.mean) for _, y in points]
    colour, marker = f"C{number % 10}", MARKERS[number % len(MARKERS)]
    spread = [y.half_width or 0.0 for _, y in points]
    axes.errorbar(
        xs, ys, yerr=spread, label=name, color=colour, marker=marker, markersize=5, linewidth=1, elinewidth=0.7
    )


def _label(axes: Axes, filled: FilledTable) -> None:
    columns = {cell.column.key: cell.column for cell in filled.rows[0].cells}
    keys = cast(TableFigure, filled.figure)
    for key, put in ((keys.x, axes.set_xlabel), (keys.y, axes.set_ylabel)):
        unit = columns[key].unit
        put(f"{columns[key].name} ({unit})" if unit else columns[key].name)
    axes.set_title(f"{filled.title} [scale={filled.scale}]", wrap=True)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _scale(axes: Axes, xs: list[float]) -> None:
    """Make the x axis logarithmic where one row would press all others against its side."""
    if min(xs) > 0 and max(xs) > WIDE * min(xs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
