"""The short tables at the end of a run and of a sweep."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from zoomexp.health.findings import mark, told
from zoomexp.processes import first_process

METRICS = (
    ("test/acc1", "test acc1", "%"),
    ("test/acc5", "test acc5", "%"),
    ("test/mse", "test MSE", ""),
    ("test/mae", "test MAE", ""),
    ("test/rank_correlation", "rank correlation with the teacher", ""),
    ("test/pointing_game", "pointing game (map's peak in the box)", "%"),
    ("test/pointing_game/teacher", "pointing game of the teacher's maps", "%"),
    ("test/pointing_game/centre_prior", "pointing game of the image centre", "%"),
)


def show(facts: Mapping[str, Any], folder: Path) -> None:
    """Print a finished run's table (rank 0 only)."""
    if facts["status"] == "finished" and first_process():
        Console(width=None if sys.stdout.isatty() else 200).print(run_table(facts, folder))


def run_table(facts: Mapping[str, Any], folder: Path) -> Table:
    """One run: what was built, its test scores, its cost and where it lies.

    Args:
        facts: A finished `metrics.json`.
        folder: The run folder.
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    cost, metrics, choices = facts["cost"], facts["metrics"], facts["choices"]
    places = ", ".join(cost["insertion_sites"])
    table.add_row("model", f"{choices['attention']} after {places}" if places else "no module")
    if health := told(facts):
        table.add_row("health", escape(health), style="red")
    for key, name, unit in METRICS:
        if key in metrics:
            table.add_row(name, f"{metrics[key]:.2f} %" if unit else f"{metrics[key]:.4f}")
    table.add_row("parameters", f"{cost['params']:,} (module {cost['module_params']:,})")
    table.add_row("MACs", f"{cost['macs'] / 1e6:,.2f} M per image")
    trained = f"{cost['train_s']:.0f} s, {cost['img_per_s']:,.0f} img/s" if cost["img_per_s"] else "none, only tested,"
    table.add_row("training", f"{trained} on {cost['device']}")
    here = Path.cwd()
    table.add_row("run folder", str(folder.relative_to(here) if folder.is_relative_to(here) else folder))
    return table


def sweep_table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    """One row per job of a multirun: what was asked, how it ended, the main scores."""
    table = Table(box=None, pad_edge=False)
    for header in ("job", "overrides", "status", "acc1", "acc5", "pointing", "params", "MMACs", "img/s", "run"):
        table.add_column(header, overflow="fold")
    for job in jobs:
        metrics, cost = job.get("metrics", {}), job.get("cost", {})
        scores = [metrics.get(key) for key in ("test/acc1", "test/acc5", "test/pointing_game")]
        table.add_row(
            str(job["job"]),
            " ".join(job["overrides"]),
            ", ".join(filter(None, [job["status"], mark(job)])),
            *("-" if score is None else f"{score:.2f}" for score in scores),
            f"{cost['params']:,}" if cost else "-",
            f"{cost['macs'] / 1e6:,.1f}" if cost else "-",
            f"{cost['img_per_s']:,.0f}" if cost.get("img_per_s") else "-",
            job.get("run") or "-",
        )
    return table
