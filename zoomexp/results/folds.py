"""The runs of a cross-validation put together: each image predicted by the run that did not train on it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from zoomexp.errors import InputError
from zoomexp.results.identity import config_hash
from zoomexp.results.statistics import mean_interval


def fold_runs(folder: Path) -> dict[int, Path]:
    """Return the finished runs of the same cross-validation as the run in `folder`, by fold.

    They lie beside it, and their configs differ in `dataset.fold` alone.

    Raises:
        InputError: it is no run of a cross-validation, or a fold is not finished; the message names those missing.
    """
    own = read_config(folder)
    folds = (own.get("dataset") or {}).get("folds")
    if not folds:
        raise InputError(f"run={folder}: not of a cross-validation; give dataset.folds=5 dataset.fold=0 and so on")
    mark, found = without_fold(own), {}
    for path in sorted(folder.parent.glob("*/config.yaml")):
        config = read_config(path.parent)
        if without_fold(config) == mark and status(path.parent) == "finished":
            found[config["dataset"]["fold"]] = path.parent
    if missing := [str(fold) for fold in range(folds) if fold not in found]:
        raise InputError(
            f"run={folder}: fold {', '.join(missing)} of {folds} not finished: -m dataset.fold={','.join(missing)}"
        )
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config of the run in `folder`.

    Raises:
        InputError: there is none.
    """
    try:
        return yaml.safe_load((folder / "config.yaml").read_text())
    except OSError as error:
        raise InputError(f"run={folder}: no run's folder (no config.yaml in it)") from error


def without_fold(config: Mapping[str, Any]) -> str:
    """Return what names a config whatever its fold."""
    dataset = {name: value for name, value in (config.get("dataset") or {}).items() if name != "fold"}
    return config_hash({**config, "dataset": dataset})


def status(folder: Path) -> str:
    """Return the status in the run's record; empty where there is none."""
    try:
        return json.loads((folder / "metrics.json").read_text())["status"]
    except (OSError, ValueError, KeyError):
        return ""


def joined_predictions(runs: Mapping[int, Path]) -> pd.DataFrame:
    """Return the rows of all runs' `predictions.csv` with their fold, by index: every image once.

    Raises:
        InputError: a run has none, or two folds tested the same image: their data differ.
    """
    tables = []
    for fold, folder in sorted(runs.items()):
        try:
            table = pd.read_csv(folder / "predictions.csv")
        except OSError as error:
            raise InputError(f"run={folder}: has no predictions.csv; repeat it with rerun=true") from error
        table.insert(1, "fold", fold)
        tables.append(table)
    everything = pd.concat(tables, ignore_index=True).sort_values("index", kind="stable", ignore_index=True)
    if (twice := everything["index"][everything["index"].duplicated()]).size:
        raise InputError(
            f"run={folder}: image {twice.iloc[0]} is in two folds: the data changed in between; rerun=true"
        )
    return everything


def fold_table(runs: Mapping[int, Path], joined: pd.DataFrame) -> pd.DataFrame:
    """Return the test metrics that all runs have, a row for each fold, then the mean and its half width over folds.

    The last row is of all images together, where that can be told: the accuracy.
    """
    metrics = {fold: json.loads((path / "metrics.json").read_text())["metrics"] for fold, path in sorted(runs.items())}
    names = [
        name
        for name in metrics[min(metrics)]
        if name.startswith("test/") and all(name in own for own in metrics.values())
    ]
    rows = [{"fold": str(fold)} | {name: own[name] for name in names} for fold, own in metrics.items()]
    over = {name: mean_interval([own[name] for own in metrics.values()]) for name in names}
    rows.append({"fold": "mean"} | {name: interval.mean for name, interval in over.items()})
    rows.append({"fold": "+- 95 %"} | {name: interval.half_width for name, interval in over.items()})
    if "right" in joined and "test/acc1" in names:
        rows.append({"fold": "all images", "test/acc1": 100 * joined["right"].mean()})
    return pd.DataFrame(rows)
