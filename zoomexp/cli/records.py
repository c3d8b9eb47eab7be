"""Published run records: those that the numbers of docs/ are made of, a few KB a run.

    python scripts/records.py export                     the finished runs of tables and studies, into docs/records;
                                                         what is published already stays
    python scripts/records.py import                     what is published, into outputs/; runs that are there stay
    python scripts/records.py verify                     whether each published record is evidence

    table=<paper>/<table>        export: of this table only; patterns, too
    scale=small seeds=10         export: at which scale, and how many seeds of a row are looked for
    output_dir=outputs records=docs/records

`reproduce.py --report` and `study.py` read the records that were imported as they read one's own runs.
"""

import fnmatch
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from zoomexp.cli.config_files import CONFIGS, RECORDS
from zoomexp.cli.script_options import check_choice, split, whole_numbers
from zoomexp.cli.table_runs import console, progress, restored, row_runs
from zoomexp.errors import InputError
from zoomexp.results.collect import finished_runs
from zoomexp.results.derived import declared
from zoomexp.results.published import archives, problems, publish, restore
from zoomexp.results.stored import facts_if_finished
from zoomexp.results.table import SCALES, Table, load_tables
from zoomexp.run.choices import may_be_among

OPTIONS = {"table": "*", "scale": "small", "seeds": "10", "output_dir": "outputs", "records": ""}
COMMANDS = ("export", "import", "verify")


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    command, *words = arguments
    check_choice({"records": command}, "records", COMMANDS)
    options, _ = split(words, OPTIONS)
    check_choice(options, "scale", SCALES)
    (seeds,) = whole_numbers(options, "seeds")
    outputs = Path(options["output_dir"]).resolve()
    records = Path(options["records"]).resolve() if options["records"] else RECORDS
    if command == "export":
        export(records, outputs, options["table"], options["scale"], seeds)
    elif command == "import":
        restored(records, outputs)
    else:
        verify(records)


def export(records: Path, outputs: Path, pattern: str, scale: str, seeds: int) -> None:
    """Publish the finished runs of the tables that a pattern names, and of all studies."""
    tables = [table for table in load_tables(CONFIGS / "table") if fnmatch.fnmatch(table.name, pattern)]
    if not tables:
        raise InputError(f"table={pattern}: fits no table; scripts/reproduce.py --list shows them")
    found = {records / f"{table.name}-{scale}.tar.xz": table for table in progress(tables)}
    for archive in archives(records) if records.exists() else ():
        if archive in found or pattern == "*":  # what is published is published again, be it of another machine
            restore(archive, outputs)
    written = 0
    for archive, table in found.items():
        folders = list(runs_of(table, scale, seeds, outputs))
        if folders:
            written += tell(archive, publish(folders, outputs, archive, tested(table)))
    for study in sorted(outputs.glob("studies/*/")) if pattern == "*" else ():
        folders = [file.parent for file in study.glob("*/runs/*/*/*/metrics.json") if facts_if_finished(file.parent)]
        if folders:
            archive = records / "studies" / f"{study.name}.tar.xz"
            written += tell(archive, publish(folders, outputs, archive, ()))
    if not written:
        raise InputError(f"output_dir={outputs}: no finished run of these tables at scale={scale}")


def runs_of(table: Table, scale: str, seeds: int, outputs: Path) -> Iterator[Path]:
    """The folders of a table's finished runs, and of those that they are built on."""
    there = {folder.relative_to(outputs / "runs").as_posix() for folder in outputs.glob("runs/*/*")}
    overrides = [f"output_dir={outputs}"]
    for row in table.rows:
        if row.unavailable or not may_be_among(table.overrides_of(row, scale), CONFIGS, there):
            continue
        for run in row_runs(table, row, seeds, scale, overrides):
            if finished_runs([run.folder], compare=False):
                yield from (one.folder for one in run.chain() if finished_runs([one.folder], compare=False))


def tested(table: Table) -> set[str] | None:
    """The outcomes that a table's paired tests read; None: that cannot be told."""
    quantities = [declared(column.key, ()) for column in table.columns]
    if any(quantity is not None and quantity.test == "bootstrap" for quantity in quantities):
        return None
    return {quantity.key for quantity in quantities if quantity is not None and quantity.test}


def tell(archive: Path, count: int) -> int:
    """Say what was written."""
    console.print(f"{archive}: {count} runs, {archive.stat().st_size / 1024:.0f} KB", highlight=False, soft_wrap=True)
    return count


def verify(records: Path) -> None:
    """Look at each record alone, as it is restored on another machine."""
    if not archives(records):
        raise InputError(f"records={records}: no published records")
    bad = 0
    for archive in archives(records):
        with tempfile.TemporaryDirectory(prefix="records-") as folder:
            restore(archive, Path(folder))
            runs = sorted(file.parent for file in Path(folder).rglob("metrics.json"))
            found = {run.relative_to(folder): list(problems(run)) for run in runs}
        console.print(f"{archive.relative_to(records)}: {len(runs)} runs", highlight=False)
        for run, clauses in found.items():
            bad += bool(clauses)
            for clause in clauses:
                console.print(f"  {run}: {clause}", highlight=False, soft_wrap=True)
    if bad:
        sys.stderr.write(f"{bad} records are no evidence, as said above\n")
        sys.exit(1)
