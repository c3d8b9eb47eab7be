"""The report's pages as texts: the first one, that of the papers, and one for each run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from zoomexp.health.findings import mark, told
from zoomexp.metrics.quantity import Quantity, capital
from zoomexp.results.filling import DIFFERS, NOT_COMPARABLE, REPRODUCED, FilledTable
from zoomexp.results.first_page import ABOUT, HEADINGS, VERDICTS, by_origin, claim_lines, counts
from zoomexp.results.recorded_quantities import meaning, overview
from zoomexp.results.rendering import TEX
from zoomexp.results.report.curves import common_axes, cost_panels
from zoomexp.results.report.figures import Picture
from zoomexp.results.report.found import comparisons, newest, story
from zoomexp.results.report.groups import SeedGroup, seed_groups, shown
from zoomexp.results.report.learning import group_curves
from zoomexp.results.report.run_view import RunView
from zoomexp.results.report.runs import RecordedRun
from zoomexp.results.report.sweeps import find_sweeps
from zoomexp.results.report.varied import chosen, varied
from zoomexp.results.statistics import p_text

SHOWN_COST = ("cost/params", "cost/macs_m", "cost/train_s", "cost/img_per_s")
FIRST_ROWS = 100  # of a long table, shown at once
TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Facts:
    """What the pages' heads say of the report."""

    scale: str
    seeds: int
    commit: str
    made: str
    command: str


def index_page(
    tables: Sequence[FilledTable],
    runs: Sequence[RecordedRun],
    pictures: Sequence[Picture],
    skipped: Sequence[str],
    facts: Facts,
) -> str:
    """The first page: what was found, modules on common axes, sweeps, and every run.

    Args:
        tables: the papers' tables, filled.
        runs: every readable run; sweeps and cost plots are made of the finished ones.
        pictures: those of the newest finished run.
        skipped: one line for each thing that could not be read.
        facts: the head.
    """
    groups = seed_groups(runs)
    panels, last = cost_panels(groups), newest(runs)
    return _environment("").get_template("index.html.j2").render(
        runs=runs,
        states=Counter(run.state for run in runs),
        verdicts=by_origin(claim_lines(tables)),
        newest=last,
        story=story(last) if last else [],
        alone=last is not None and any(len(group.runs) == 1 and last in group.runs for group in groups),
        pictures=pictures,
        comparisons=comparisons(panels),
        panels=[(panel, group_curves(panel)) for panel in panels],
        sweeps=common_axes(find_sweeps(groups)),
        texts=chosen(runs) | varied(runs),
        skipped=skipped,
        facts=facts,
        columns=overview([run.facts for run in runs]) | {name: meaning(name) for name in SHOWN_COST},
    )  # fmt: skip


def papers_page(tables: Sequence[FilledTable], facts: Facts) -> str:
    """What of the papers holds, and their tables."""
    lines = claim_lines(tables)
    return _environment("").get_template("papers.html.j2").render(
        measured=[table for table in tables if table.counts()["measured"]],
        empty=[table for table in tables if not table.counts()["measured"]],
        cells=Counter(cell.verdict for table in tables for row in table.rows for cell in row.cells),
        lines=lines,
        counts=counts(lines),
        about=ABOUT,
        facts=facts,
    )  # fmt: skip


def run_page(view: RunView, others: Sequence[RecordedRun], facts: Facts) -> str:
    """One run.

    Args:
        view: what it shows.
        others: the runs of the same config with other seeds.
        facts: the head.
    """
    up = "../" * page_of(view.run).count("/")
    return _environment(up).get_template("run.html.j2").render(view=view, run=view.run, others=others, facts=facts)


def page_of(run: RecordedRun) -> str:
    """Where the page of a run lies in the report's folder."""
    return f"pages/{run.path}.html"


def reasons(table: FilledTable) -> list[str]:
    """Why cells of a table must not be compared with the paper, each reason once."""
    verdicts = dict.fromkeys(cell.verdict for row in table.rows for cell in row.cells)
    return [verdict for verdict in verdicts if verdict.startswith(NOT_COMPARABLE)]


def held(groups: Sequence[SeedGroup]) -> dict[str, Quantity]:
    """What overviews show of these groups, by full name."""
    return overview([run.facts for group in groups for run in group.runs])


@lru_cache  # what a template is made into is kept with it
def _environment(up: str) -> Environment:
    """The templates; `up` leads from the page to the report's folder."""
    loader = FileSystemLoader(TEMPLATES, encoding="utf-8")
    made = Environment(autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {
        "fixed": _fixed,
        "brief": _brief,
        "capital": capital,
        "meaning": meaning,
        "shown": shown,
        "reasons": reasons,
        "mark": mark,
        "told": told,
        "p": p_text,
        "page": lambda run: quote(up + page_of(run)),
        "anchor": lambda name: name.replace("/", "-"),
    }
    made.policies["json.dumps_kwargs"] = {"sort_keys": False}  # columns keep their order
    made.globals |= {"REPRODUCED": REPRODUCED, "DIFFERS": DIFFERS, "HEADINGS": HEADINGS, "VERDICTS": VERDICTS}
    made.globals |= {"held": held, "up": up, "TEX": TEX, "FIRST_ROWS": FIRST_ROWS}
    return made


def _fixed(value: Any, decimals: int) -> str:
    return f"{value:,.{decimals}f}"


def _brief(value: float) -> str:
    """A number of a small table: whole ones as they are, others with four digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
