"""Where the runs of tables' rows are, or would be, remembered between calls since composing them takes long."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from zoomexp.cli.config_files import CONFIGS, PACKAGE
from zoomexp.cli.table_runs import row_runs
from zoomexp.results.identity import run_folder
from zoomexp.results.report.remembered import Remembered, state_of
from zoomexp.results.table import Row, Table
from zoomexp.run.choices import may_be_among


class KnownRuns:
    """The folders of tables' runs below an output directory.

    Args:
        output_dir: whose `runs` are looked at; what was composed is kept in its `known_runs.json`.
        seeds: how many runs a row has.
        scale: at which they are made.
        overrides: what every run gets beside its row's own.
    """

    def __init__(self, output_dir: Path, seeds: int, scale: str, overrides: Sequence[str]) -> None:
        self.output_dir, self.seeds, self.scale = output_dir.resolve(), seeds, scale
        self.overrides = [word for word in overrides if not word.startswith("output_dir=")]
        state = state_of((CONFIGS, *(PACKAGE / name for name in ("results", "run", "cli"))))
        self.known = Remembered(self.output_dir / "known_runs.json", state)

    def folders(self, table: Table, there: Collection[str]) -> dict[str, list[Path]]:
        """The folders of each row's runs, one per seed; none of a row that cannot have a run.

        Args:
            table: whose rows they are.
            there: the folders of runs' folders, relative to `runs`: a row whose own is not among them is not composed.
        """
        found = {}
        for row in table.rows:
            words = [*table.overrides_of(row, self.scale), *self.overrides]
            if not row.unavailable and may_be_among(words, CONFIGS, there):
                question = [str(Path.cwd()), str(self.seeds), *words]
                paths = self.known.answer(question, partial(self._paths, table, row))
                found[row.name] = [run_folder(self.output_dir, Path(path)) for path in paths]
        return found

    def _paths(self, table: Table, row: Row) -> list[str]:
        return [str(run.path) for run in row_runs(table, row, self.seeds, self.scale, self.overrides)]

    def save(self) -> None:
        """Keep what was composed for the next call."""
        if self.known.answers:  # nothing is written where there are no runs
            self.known.save()
