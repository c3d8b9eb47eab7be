"""Writes the report: one folder that can be sent, in which every link leads to something inside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import vl_convert

from zoomexp.atomic_file import write_text
from zoomexp.results.filling import FilledTable
from zoomexp.results.report.figures import pictures
from zoomexp.results.report.found import newest
from zoomexp.results.report.groups import seed_groups
from zoomexp.results.report.page import TEMPLATES, Facts, index_page, page_of, papers_page, run_page
from zoomexp.results.report.run_view import view
from zoomexp.results.report.runs import RecordedRun

VL_CONVERT: Any = vl_convert  # its types lack the version and what a bundle is of by default

ASSETS = ("style.css", "report.js")


def write_site(
    folder: Path,
    tables: Sequence[FilledTable],
    runs: Sequence[RecordedRun],
    skipped: Sequence[str],
    facts: Facts,
    tell: Callable[[str], None] = lambda said: None,
) -> None:
    """Write every page and what they need into a folder; pages of runs that are gone are removed.

    Args:
        folder: where to; it is made.
        tables: the papers' tables, filled.
        runs: every readable run.
        skipped: one line for each thing that could not be read.
        facts: the pages' heads.
        tell: told how far it is.
    """
    tell("writing the plots' library")
    _write_assets(folder / "assets")
    broken: list[str] = []
    _write_runs(folder, runs, broken, facts, tell)
    tell("drawing sweeps and costs")
    last = newest(runs)
    first = pictures(last, []) if last else ()
    write_text(folder / "papers.html", papers_page(tables, facts))
    write_text(folder / "index.html", index_page(tables, runs, first, [*skipped, *broken], facts))


def _write_assets(folder: Path) -> None:
    """Styles and script, and the plots' library, which takes a second to put together and so is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ASSETS:
        write_text(folder / name, (TEMPLATES / name).read_text(encoding="utf-8"))
    library, version = (
        folder / "vega.js",
        f"/* Vega {vl_convert.get_vega_version()}, vl-convert {VL_CONVERT.__version__} */\n",
    )
    if not library.is_file() or not library.read_text(encoding="utf-8").startswith(version):
        # In a function: what a script declares at its top is seen by every other script of the page.
        write_text(library, f"{version}(() => {{{VL_CONVERT.javascript_bundle()}\n}})();\n")


def _write_runs(
    folder: Path, runs: Sequence[RecordedRun], broken: list[str], facts: Facts, tell: Callable[[str], None]
) -> None:
    alike = {run: group.runs for group in seed_groups(runs) for run in group.runs}
    written = set()
    for i, run in enumerate(runs, start=1):
        tell(f"writing the page of run {i} of {len(runs)}")
        path = folder / page_of(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        others = [other for other in alike.get(run, ()) if other is not run]
        write_text(path, run_page(view(run, broken), others, facts))
        written.add(path)
    for path in set((folder / "pages").rglob("*.html")) - written:
        path.unlink()
