"""The runs that the papers' tables are made of."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from zoomexp.errors import InputError
from zoomexp.results.published import archives, restore
from zoomexp.results.table import Row, Table
from zoomexp.run.compose import Run, compose_run
from zoomexp.run.explain import explain

console = Console(width=None if sys.stdout.isatty() else 180)


def progress(tables: list[Table]) -> Iterator[Table]:
    """Go through the tables with a line that says where we are."""
    with console.status("reading tables") as status:
        for i, table in enumerate(tables, start=1):
            status.update(f"reading {table.name} ({i} of {len(tables)})")
            yield table


def restored(records: Path, outputs: Path) -> None:
    """Put all published records below `outputs`, and tell how many there are."""
    counts = [restore(archive, outputs) for archive in archives(records)]
    if counts:
        new, there = (sum(column) for column in zip(*counts, strict=True))
        console.print(f"published records: {new} runs added, {there} were there", highlight=False)


def row_runs(table: Table, row: Row, seeds: int, scale: str, overrides: Sequence[str]) -> list[Run]:
    """A row's runs, one per seed."""
    try:
        return seeded_runs([*table.overrides_of(row, scale), *overrides], seeds)
    except InputError as error:
        raise InputError(f"table {table.name}, row {row.name!r}: {error}") from error


def seeded_runs(overrides: Sequence[str], seeds: int) -> list[Run]:
    """The runs of one system, one per seed.

    Raises:
        InputError: If the overrides do not compose.
    """
    try:
        first = compose_run([*(override for override in overrides if not override.startswith("hydra")), "seed=0"])
        runs = [first, *(first.with_seed(seed) for seed in range(1, seeds))]
        return [run for run in runs if run.folder]  # resolves every config now
    except Exception as error:
        raise InputError(explain(error)) from error
