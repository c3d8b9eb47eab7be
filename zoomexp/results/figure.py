"""A table's figure over costs: one column over others, a panel each, a point for each row; series of rows are joined.

One over a setting of the rows is drawn by `curve`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from zoomexp.results.curve import MARKED, STYLE, axis_name, draw_curve, hollow
from zoomexp.results.filling import Cell, FilledTable
from zoomexp.results.table import Figure as TableFigure

MARKERS = "os^Dv<>Pp*Xhd8"
WIDE = 10  # the x axis is logarithmic where its largest value is more than so many times the smallest


def draw(filled: FilledTable, path: Path) -> Path | None:
    """Write the table's figure as SVG; returns the path, or None where fewer than two rows have been measured.

    A panel of fewer than two rows is left out. Rows whose names begin alike up to the first comma ("ToMe, r 6",
    "ToMe, r 11") are one series, and joined.

    Args:
        filled: a table with a figure.
        path: the file; its folder is made.
    """
    keys = cast(TableFigure, filled.figure)
    if keys.over:
        return draw_curve(filled, path)
    drawn = {x: series(filled, x) for x in keys.x}
    panels = {x: measured for x, measured in drawn.items() if sum(map(len, measured.values())) > 1}
    if not panels:
        return None
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(4 + 4 * len(panels), 5), layout="constrained")
        every = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (x, measured) in zip(every, panels.items(), strict=True):
            for name, points in measured.items():
                _draw_series(axes, name, points, _names(filled).index(name))
            hollow(axes, [(cast(float, x.mean), y) for points in measured.values() for x, y in points])
            _label(axes, filled, x)
            _scale(axes, [cast(float, one.mean) for points in measured.values() for one, _ in points])
        _name(canvas, every, filled)
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, metadata={"Date": None})
    return path


def series(filled: FilledTable, x: str) -> dict[str, list[tuple[Cell, Cell]]]:
    """Cells of column `x` and of the figure's y by series, those of each from the smallest x on."""
    found: dict[str, list[tuple[Cell, Cell]]] = {}
    for row in filled.rows:
        cells = {cell.column.key: cell for cell in row.cells}
        pair = cells[x], cells[cast(TableFigure, filled.figure).y[0]]
        if all(cell.mean is not None for cell in pair):
            found.setdefault(_series_of(row.name), []).append(pair)
    return {name: sorted(points, key=lambda point: cast(float, point[0].mean)) for name, points in found.items()}


def _series_of(row: str) -> str:
    return row.partition(",")[0]


def _names(filled: FilledTable) -> list[str]:
    """Of all series: each keeps its colour and marker in every panel, also where another is missing."""
    return list(dict.fromkeys(_series_of(row.name) for row in filled.rows))


def _draw_series(axes: Axes, name: str, points: list[tuple[Cell, Cell]], number: int) -> None:
    xs, ys = ([cast(float, point[i].mean) for point in points] for i in (0, 1))
    x_spread, y_spread = (_reach([point[i] for point in points]) for i in (0, 1))
    look: dict[str, Any] = {"color": f"C{number % 10}", "marker": MARKERS[number % len(MARKERS)], "markersize": 5}
    axes.errorbar(xs, ys, yerr=y_spread, xerr=x_spread, label=name, linewidth=1, elinewidth=0.7, **look)


def _reach(cells: Sequence[Cell]) -> list[list[float]]:
    """How far each interval reaches below its mean, and above."""
    ends = [(cell.interval.mean, *cell.interval.ends(cell.column.bounds)) for cell in cells]
    return [[mean - low for mean, low, _ in ends], [high - mean for mean, _, high in ends]]


def _label(axes: Axes, filled: FilledTable, x: str) -> None:
    for key, put in ((x, axes.set_xlabel), (cast(TableFigure, filled.figure).y[0], axes.set_ylabel)):
        put(axis_name(filled, key))
    axes.label_outer()
    axes.grid(alpha=0.3)


def _name(canvas: Canvas, every: Sequence[Axes], filled: FilledTable) -> None:
    """The title, and one legend of all panels at their right."""
    canvas.suptitle(f"{filled.title} [{filled.measured_at}]", wrap=True, fontsize="large")
    shown = {name: line for axes in every for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    wanted = [name for name in (*_names(filled), MARKED) if name in shown]
    every[-1].legend(
        [shown[name] for name in wanted], wanted, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
    )


def _scale(axes: Axes, xs: list[float]) -> None:
    """Make the x axis logarithmic where one row would press all others against its side."""
    if min(xs) > 0 and max(xs) > WIDE * min(xs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
