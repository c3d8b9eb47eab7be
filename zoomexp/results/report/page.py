"""Puts everything into one HTML file that needs nothing else: styles, script, plots and pictures lie in it."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from zoomexp.health.findings import mark, told
from zoomexp.metrics.quantity import Quantity, capital
from zoomexp.results.filling import DIFFERS, NOT_COMPARABLE, REPRODUCED, FilledTable
from zoomexp.results.recorded_quantities import meaning, overview
from zoomexp.results.report.curves import cost_panels, sweep_plots
from zoomexp.results.report.figures import Sheet
from zoomexp.results.report.groups import SeedGroup, seed_groups, shown
from zoomexp.results.report.plot import number
from zoomexp.results.report.runs import RecordedRun
from zoomexp.results.report.sweeps import find_sweeps
from zoomexp.results.statistics import p_text

SHOWN_COST = ("cost/params", "cost/macs_m", "cost/train_s", "cost/img_per_s")
TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Facts:
    """What the page's head says of itself."""

    scale: str
    seeds: int
    commit: str
    made: str
    command: str


def page(
    tables: Sequence[FilledTable],
    runs: Sequence[RecordedRun],
    sheets: Sequence[Sheet],
    skipped: Sequence[str],
    facts: Facts,
    folder: Path,
) -> str:
    """The page as text.

    Args:
        tables: the papers' tables, filled.
        runs: every readable run; sweeps and cost plots are made of the finished ones.
        sheets: the runs' pictures.
        skipped: one line for each thing that could not be read.
        facts: the head.
        folder: where the page will lie; links to run records are relative to it.
    """
    groups = seed_groups(runs)
    sweeps = [(sweep, sweep_plots(sweep)) for sweep in find_sweeps(groups)]
    return _environment(folder).get_template("page.html.j2").render(
        measured=[table for table in tables if table.counts()["measured"]],
        empty=[table for table in tables if not table.counts()["measured"]],
        runs=runs,
        states=Counter(run.state for run in runs),
        verdicts=Counter(cell.verdict for table in tables for row in table.rows for cell in row.cells),
        sweeps=[(sweep, plots) for sweep, plots in sweeps if plots],
        panels=cost_panels(groups),
        sheets=sheets,
        skipped=skipped,
        facts=facts,
        columns=overview([run.facts for run in runs]) | {name: meaning(name) for name in SHOWN_COST},
    )  # fmt: skip


def reasons(table: FilledTable) -> list[str]:
    """Why cells of a table must not be compared with the paper, each reason once."""
    verdicts = dict.fromkeys(cell.verdict for row in table.rows for cell in row.cells)
    return [verdict for verdict in verdicts if verdict.startswith(NOT_COMPARABLE)]


def held(groups: Sequence[SeedGroup]) -> dict[str, Quantity]:
    """What overviews show of these groups, by full name."""
    return overview([run.facts for group in groups for run in group.runs])


def _environment(folder: Path) -> Environment:
    loader = FileSystemLoader(TEMPLATES, encoding="utf-8")
    made = Environment(autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {
        "fixed": lambda value, decimals: f"{value:,.{decimals}f}",
        "number": number,
        "capital": capital,
        "meaning": meaning,
        "shown": shown,
        "reasons": reasons,
        "mark": mark,
        "told": told,
        "p": p_text,
        "link": lambda path: quote(Path(os.path.relpath(path, folder)).as_posix()),
    }
    made.globals |= {"REPRODUCED": REPRODUCED, "DIFFERS": DIFFERS, "held": held}
    return made
