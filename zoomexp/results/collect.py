"""Finds the finished runs that a table's cells are made of."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from zoomexp.health.findings import told
from zoomexp.results.derived import along_training, from_history
from zoomexp.results.filling import RunResult
from zoomexp.results.stored import facts_if_finished


def finished_run(folder: Path) -> RunResult | None:
    """What a table needs of the run in `folder`; None if there is no finished run."""
    facts = facts_if_finished(folder)
    if facts is None:
        return None
    return RunResult(
        metrics=facts["metrics"] | _epochs(folder / "history.csv"),
        cost=facts["cost"],
        seed=facts["seed"],
        correct=_correct(folder / "predictions.npz"),
        git_sha=facts["git"].get("sha") or "",
        folder=str(folder),
        health=told(facts),
    )


def finished_runs(folders: Iterable[Path]) -> list[RunResult]:
    """The finished ones among the runs in `folders`."""
    return [run for run in map(finished_run, folders) if run is not None]


def _epochs(history: Path) -> dict[str, float]:
    """What the epochs' validation scores say (see `derived`)."""
    rows = pd.read_csv(history) if history.exists() else pd.DataFrame()
    found = from_history(rows["val/acc1"].tolist()) if "val/acc1" in rows else {}
    for name in ("val/mse", "val/mae"):
        found |= along_training(name, rows[name].tolist()) if name in rows else {}
    return found


def _correct(predictions: Path) -> np.ndarray | None:
    """Whether each test image was classified right, in the order of the index; None where nothing was classified."""
    if not zipfile.is_zipfile(predictions):  # also: cut short
        return None
    with np.load(predictions, allow_pickle=False) as stored:
        return stored["top1"] == stored["label"] if "top1" in stored else None
