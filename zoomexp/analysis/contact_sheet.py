"""Pictures in rows and columns, one row an image, written as PNG."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

CELL = 2.4  # inches a picture
DPI = 120
WIDTH = 34  # characters that fit above a picture
COLOURS = {True: "tab:green", False: "tab:red", None: "black"}


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a sheet.

    Attributes:
        picture: (3, H, W) in [0, 1].
        title: What stands above it.
        right: Colours the title: True green, False red, None black.
        box: (4,), x0, y0, x1, y1 as shares of width and height, drawn in red; None for none.
    """

    picture: Tensor
    title: str = ""
    right: bool | None = None
    box: Tensor | None = None


def contact_sheet(rows: Sequence[Sequence[Panel]], columns: Sequence[str], path: Path) -> Path:
    """Draw a sheet.

    Args:
        rows: As many panels each as there are columns.
        columns: What stands above the first row.
        path: Where the PNG is written.
    """
    figure = Figure(figsize=(CELL * len(columns), (CELL + 0.3) * len(rows) + 0.3), layout="constrained")
    cast(Any, figure.get_layout_engine()).set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for number, (row, line) in enumerate(zip(rows, grid, strict=True)):
        for panel, column, axes in zip(row, columns, line, strict=True):
            draw(panel, axes)
            if number == 0:
                axes.annotate(column, (0.5, 1), xytext=(0, 24), xycoords="axes fraction", textcoords="offset points",
                              ha="center", fontsize=9, fontweight="bold")  # fmt: skip
    figure.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.05)  # the columns' names stand above the layout
    return path


def draw(panel: Panel, axes: Axes) -> None:
    """Draw one panel in the middle of a square; the axes' coordinates are the picture's pixel edges."""
    height, width = panel.picture.shape[1:]
    axes.imshow(panel.picture.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
    half = max(height, width) / 2
    axes.set(xlim=(width / 2 - half, width / 2 + half), ylim=(height / 2 + half, height / 2 - half))
    lines = [part for line in panel.title.split("\n") for part in textwrap.wrap(line, WIDTH)]
    axes.set_title("\n".join(lines), fontsize=7, color=COLOURS[panel.right], pad=3)
    axes.axis("off")
    if panel.box is not None:
        x0, y0, x1, y1 = (panel.box * panel.box.new_tensor([width, height, width, height])).tolist()
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="red", linewidth=1.2))
