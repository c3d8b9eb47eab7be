"""Reads every run folder, finished or not; a folder that cannot be read is named and left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from zoomexp.results.collect import finished_run
from zoomexp.results.derived import value_of
from zoomexp.results.filling import RunResult
from zoomexp.results.identity import renamed
from zoomexp.results.stored import RecordError, read_config, read_facts

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError)


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """One run folder.

    Args:
        path: `<dataset>/<backbone>-<attention>-<insertion>/seed<n>-<hash>`.
        folder: where it lies.
        facts: its `metrics.json`.
        config: its `config.yaml`.
        result: what tables need of it; None if it is not finished.
    """

    path: str
    folder: Path
    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    result: RunResult | None

    @property
    def state(self) -> str:
        """`finished`, `failed` or `running`."""
        return self.facts["status"].partition(":")[0]

    def value(self, name: str) -> float | None:
        """What the record holds under a full name."""
        return value_of(name, self.facts["metrics"], self.facts["cost"])


def read_runs(runs: Path) -> tuple[list[RecordedRun], list[str]]:
    """Every run below `runs`, ordered by path, and one line for each folder that could not be read.

    Args:
        runs: `<output_dir>/runs`; it need not exist.
    """
    found, skipped = [], []
    for folder in sorted(path for path in runs.glob("*/*/*") if path.is_dir()):
        path = folder.relative_to(runs).as_posix()
        try:
            found.append(_read(folder, path))
        except UNREADABLE as error:
            skipped.append(f"{path}: {_why(error)}")
    return found, skipped


def _read(folder: Path, path: str) -> RecordedRun:
    facts, config = read_facts(folder), renamed(read_config(folder))
    predictions = folder / "predictions.npz"
    if predictions.exists() and not is_zipfile(predictions):  # numpy would leave the file open
        raise ValueError("predictions.npz is cut off or no NumPy archive")
    return RecordedRun(path, folder, facts, config, finished_run(folder))


def _why(error: BaseException) -> str:
    if isinstance(error, RecordError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
