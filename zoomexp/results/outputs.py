"""Where filled tables go: files in every form, one document over many tables, and a W&B table."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from zoomexp.atomic_file import write_text
from zoomexp.results.calibration_page import section
from zoomexp.results.figure import draw
from zoomexp.results.filling import FilledTable
from zoomexp.results.first_page import summary
from zoomexp.results.rendering import csv, frame, html, latex, markdown


def write_table(filled: FilledTable, folder: Path) -> list[Path]:
    """Write `<folder>/<paper>/<table>-<scale>.{md,tex,csv,html}`, its figure as `.svg`; returns the paths."""
    stem = folder / f"{filled.name}-{filled.scale}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    forms = {"md": markdown, "tex": latex, "csv": csv, "html": html}
    paths = []
    for suffix, render in forms.items():
        paths.append(stem.with_name(f"{stem.name}.{suffix}"))
        write_text(paths[-1], render(filled))
    drawn = _figure(filled, folder)
    return [*paths, drawn] if drawn else paths


def _figure(filled: FilledTable, folder: Path) -> Path | None:
    """Draw the table's figure as `<folder>/<paper>/<table>-<scale>.svg`, if it has one and enough is measured."""
    return draw(filled, folder / f"{filled.name}-{filled.scale}.svg") if filled.figure else None


def write_document(tables: Sequence[FilledTable], path: Path, command: str) -> Path:
    """Write what of the papers holds, then every table that has a measured cell, into one Markdown file.

    After them stands which modules change calibration. The tables that have none are named.

    Figures go into the folder `figures` beside it.
    """
    measured = [table for table in tables if table.counts()["measured"]]
    drawn = {table.name: _figure(table, path.parent / "figures") for table in measured}
    pictures = {name: f"\n\n![{name}]({file.relative_to(path.parent)})" for name, file in drawn.items() if file}
    empty = [table.name for table in tables if not table.counts()["measured"]]
    parts = [
        "# Results",
        "Reported beside measured, made by the command below and never by hand; a later call makes it anew from the "
        "run records.",
        f"    {command}",
        "Each table ends with the commits and processors of its runs, whose records are in docs/records. Times and "
        "speeds are wall-clock, and runs may have shared the machine: compare cost by MACs.",
        summary(tables),
        *(markdown(table).strip() + pictures.get(table.name, "") for table in measured),
        *section(tables),
        "## Not run",
        ", ".join(empty) or "none",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def list_table(tables: Sequence[FilledTable], scale: str) -> RichTable:
    """One line per table: how many cells are reported, measured and reproduced."""
    shown = RichTable(title=f"Tables at scale={scale}")
    for name in ("table", "title", "rows", "cells", "reported", "measured", "reproduced"):
        shown.add_column(name, justify="left" if name in ("table", "title") else "right")
    for table in tables:
        counts = table.counts()
        numbers = (len(table.rows), *(counts[key] for key in ("cells", "reported", "measured", "reproduced")))
        shown.add_row(table.name, table.title, *map(str, numbers))
    return shown


def log_to_wandb(filled: FilledTable, output_dir: Path, settings: Sequence[str]) -> None:
    """Log the table as one W&B table, where the runs go to; loggers without W&B (`logger=none`) leave it out.

    Args:
        filled: The table.
        output_dir: Where the offline run is written.
        settings: Overrides of the logger, as typed.
    """
    typed = dict(setting.lstrip("+").partition("=")[::2] for setting in settings)
    if "wandb" not in re.findall(r"\w+", typed.get("logger", "wandb")):
        return
    import os

    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    from zoomexp.run.wandb_offline import check_mode, defaults

    given: dict[str, Any] = {name: typed.get(f"logger.{name}", value) for name, value in defaults().items()}
    check_mode(given["mode"])
    paper = filled.name.partition("/")[0]
    tags = [f"table:{filled.name}", f"scale:{filled.scale}"]
    with wandb.init(**given, dir=output_dir, job_type="table", group=paper, name=filled.name, tags=tags) as run:
        run.log({filled.name: wandb.Table(dataframe=frame(filled))})
