"""A table's figure over a setting: columns with their bands over seeds, and the rows without the setting as lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from zoomexp.results.filling import Cell, FilledTable
from zoomexp.results.table import Figure as TableFigure

# Text stays text, and the same numbers give the same file.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "zoomexp", "font.size": 9}
LINES = ("--", ":", "-.")
MARKED = "open: a run not learned, its module shut or idle"


def draw_curve(filled: FilledTable, path: Path) -> Path | None:
    """Write the curves as SVG; returns the path, or None where fewer than two rows with the setting have been measured.

    The numbers of the setting stand at equal distances: they mostly span decades, from 0.

    Args:
        filled: a table whose figure is over a setting.
        path: the file; its folder is made.
    """
    keys = cast(TableFigure, filled.figure)
    panels = {key: measured for key in keys.y if (measured := curves(filled, key))}
    if not panels:
        return None
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(4.5 * len(panels), 3.8), layout="constrained")
        every = canvas.subplots(1, len(panels), squeeze=False)[0]
        for axes, (key, measured) in zip(every, panels.items(), strict=True):
            settings = sorted({setting for points in measured.values() for setting in points})
            for name, points in measured.items():
                _draw(axes, name, points, settings)
            axes.set_xticks(range(len(settings)), [f"{value:g}" for value in settings])
            hollow(axes, [(settings.index(x), cell) for points in measured.values() for x, cell in points.items()])
            _draw_others(axes, filled, key)
            axes.set(xlabel=keys.over, ylabel=axis_name(filled, key))
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
        canvas.suptitle(f"{filled.title} [{filled.measured_at}]", wrap=True, fontsize="large")
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, metadata={"Date": None})
    return path


def curves(filled: FilledTable, key: str) -> dict[str, dict[float, Cell]]:
    """The measured cells of a column by curve and setting, from the smallest on; of rows that share both the first.

    A curve of one cell is left out.
    """
    found: dict[str, dict[float, Cell]] = {}
    for row in filled.rows:
        cell = next(cell for cell in row.cells if cell.column.key == key)
        if row.setting is not None and cell.mean is not None:
            found.setdefault(row.curve, {}).setdefault(row.setting, cell)
    return {name: dict(sorted(points.items())) for name, points in found.items() if len(points) > 1}


def axis_name(filled: FilledTable, key: str) -> str:
    """A column's name with its unit."""
    column = next(cell.column for cell in filled.rows[0].cells if cell.column.key == key)
    return f"{column.name} ({column.unit})" if column.unit else column.name


def hollow(axes: Axes, points: Sequence[tuple[float, Cell]]) -> None:
    """Empty the markers of cells, each with its place on the x axis, whose runs are not what their row says."""
    marked = [(x, cast(float, cell.mean)) for x, cell in points if cell.mark]
    if marked:
        xs, ys = zip(*marked, strict=True)
        axes.scatter(xs, ys, s=9, color="white", zorder=3)
        axes.scatter([], [], s=16, color="white", edgecolors="0.3", label=MARKED)  # in the legend


def _draw(axes: Axes, name: str, points: dict[float, Cell], settings: list[float]) -> None:
    places, means = [settings.index(one) for one in points], [cast(float, cell.mean) for cell in points.values()]
    axes.plot(places, means, marker="o", markersize=4)
    low, high = zip(*(cell.interval.ends(cell.column.bounds) for cell in points.values()), strict=True)
    band = f"95 % over {next(iter(points.values())).n} seeds"
    axes.fill_between(places, low, high, alpha=0.2, label=f"{name}, {band}" if name else band)


def _draw_others(axes: Axes, filled: FilledTable, key: str) -> None:
    """Rows without the setting, such as the network without a module."""
    others = [row for row in filled.rows if row.setting is None]
    for i, row in enumerate(others):
        cell = next(cell for cell in row.cells if cell.column.key == key)
        if cell.mean is not None:
            axes.axhline(cell.mean, linestyle=LINES[i % len(LINES)], color="0.4", linewidth=1, label=row.name)
