"""The report over everything that has been run: what was found, systems compared, sweeps, every run, the papers.

    python scripts/report.py                       from outputs/ to outputs/report/index.html

    output_dir=outputs      where the runs lie
    out=FOLDER              where the report goes; outputs/report unless given
    scale=small             at which scale the papers' tables are filled: smoke | small | paper
    seeds=3                 how many seeds of a table's rows are looked for: 0, 1, 2
    trainer=gpu             hardware settings that the tables' runs were made with: trainer=, trainer.precision=

index.html      what was found, systems on common axes, sweeps, and a list of all runs
papers.html     what of the papers holds, claim by claim, and their tables
pages/          a page for each run: its config, curves, pictures, predictions and mistakes

The folder needs neither network nor server and has every link inside it: send it to anyone, open it from disk, print
it. Which runs belong to a table is remembered in known_runs.json beside the runs until code or configs change, so the
next call is quicker.
"""

import errno
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from zoomexp.atomic_file import writing
from zoomexp.cli.config_files import CONFIGS
from zoomexp.cli.known_runs import KnownRuns
from zoomexp.cli.script_options import check_choice, split, whole_numbers
from zoomexp.cli.table_runs import console, progress, seeded_runs
from zoomexp.errors import InputError
from zoomexp.results.filling import FilledTable, RunResult, fill
from zoomexp.results.provenance import git_state
from zoomexp.results.report.page import Facts
from zoomexp.results.report.runs import read_runs
from zoomexp.results.report.site import write_site
from zoomexp.results.table import SCALES, load_tables

OPTIONS = {"output_dir": "outputs", "out": "", "scale": "small", "seeds": "3"}


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options, overrides = parse(arguments)
    output_dir = Path(options["output_dir"]).resolve()
    out = Path(options["out"] or output_dir / "report").resolve()
    if not output_dir.is_dir():
        raise InputError(f"output_dir={options['output_dir']} must be a folder that holds runs")
    check(out)
    seeded_runs(overrides, 1)  # what does not compose is said at once
    with console.status("reading runs"):
        runs, skipped = read_runs(output_dir / "runs")
    results = {run.folder: run.result for run in runs if run.result is not None}
    tables, unfilled = filled_tables(results, options, [*overrides, f"output_dir={options['output_dir']}"])
    facts = Facts(
        scale=options["scale"],
        seeds=int(options["seeds"]),
        commit=git_state()["sha"] or "",
        made=time.strftime("%Y-%m-%d %H:%M"),
        command=" ".join(["python scripts/report.py", *arguments]),
    )
    with writing("out", out), console.status("writing") as status:
        write_site(out, tables, runs, [*skipped, *unfilled], facts, status.update)
    console.print(f"written: {out / 'index.html'}", soft_wrap=True, markup=False, highlight=False)


def check(out: Path) -> None:
    """Refuse a folder that cannot be written, before a minute of work."""
    with writing("out", out):
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """This script's options, and the hardware settings of the tables' runs."""
    options, overrides = split(arguments, OPTIONS, passed_on=("trainer=", "trainer.precision="))
    whole_numbers(options, "seeds")
    check_choice(options, "scale", SCALES)
    return options, overrides


def filled_tables(
    results: dict[Path, RunResult], options: dict[str, str], overrides: Sequence[str]
) -> tuple[list[FilledTable], list[str]]:
    """Every table with the finished runs among `results`, and one line for each table that could not be filled."""
    filled, skipped = [], []
    known = KnownRuns(Path(options["output_dir"]), int(options["seeds"]), options["scale"], overrides)
    there = {folder.parent.relative_to(known.output_dir / "runs").as_posix() for folder in results}
    for table in progress(load_tables(CONFIGS / "table")):
        try:
            found = known.folders(table, there) if results else {}
            runs = {row: [results[folder] for folder in folders if folder in results] for row, folders in found.items()}
            filled.append(fill(table, runs, options["scale"], git_state()["sha"] or ""))
        except InputError as error:
            skipped.append(f"table {table.name}: {error}")
    known.save()
    return filled, skipped
