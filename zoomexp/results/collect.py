"""Finds the finished runs that a table's cells are made of."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zoomexp.health.findings import told
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.derived import along_training, declared, from_history
from zoomexp.results.filling import RunResult
from zoomexp.results.identity import run_folder
from zoomexp.results.origin import changes, has_origin
from zoomexp.results.predictions import FILE, Predictions
from zoomexp.results.recorded_quantities import main_of, quantities_of
from zoomexp.results.stored import facts_if_finished


def finished_run(folder: Path, compare: bool = True) -> RunResult | None:
    """What a table needs of the run in `folder`; None if there is no finished run.

    Args:
        folder: of the run.
        compare: whether the data and code that it was made from are compared with those of now.
    """
    facts = facts_if_finished(folder)
    if facts is None:
        return None
    own = quantities_of(facts)
    return RunResult(
        metrics=facts["metrics"] | _epochs(folder / "history.csv", own),
        cost=facts["cost"],
        seed=facts["seed"],
        predictions=Predictions(folder / FILE),
        git_sha=facts["git"].get("sha") or "",
        folder=str(folder),
        health=_health(folder, facts),
        changed=_changed(folder, facts) if compare else "",
        main=main_of(facts),
        quantities=own,
    )


def _health(folder: Path, facts: dict[str, Any]) -> str:
    """What was found wrong with a run; with the network that it tests, if it trains none."""
    start = facts.get("start_weights")
    if facts.get("health") is not None or facts["cost"].get("train_s") or not isinstance(start, str):
        return told(facts)
    name = start.replace("\\", "/").rpartition("runs/")[2]
    return told(facts_if_finished(run_folder(folder.parents[3], Path(name))) or facts)


def _changed(folder: Path, facts: dict[str, Any]) -> str | None:
    return changes(folder, facts) if has_origin(facts) else None


def finished_runs(folders: Iterable[Path], compare: bool = True) -> list[RunResult]:
    """The finished ones among the runs in `folders`, see `finished_run`."""
    return [run for run in (finished_run(folder, compare) for folder in folders) if run is not None]


def _epochs(history: Path, own: Sequence[Quantity]) -> dict[str, float]:
    """What the epochs' validation scores say (see `derived`)."""
    rows = pd.read_csv(history) if history.exists() else pd.DataFrame()
    found = from_history(rows["val/acc1"].tolist()) if "val/acc1" in rows else {}
    for name in rows.columns[rows.columns.str.startswith("val/")] if len(rows) else ():
        quantity = declared(name, own)
        if quantity is not None and quantity.higher_is_better is False:
            found |= along_training(name, rows[name].tolist())
    return found
