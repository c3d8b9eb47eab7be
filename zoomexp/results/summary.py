"""The short table at the end of a run."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from zoomexp.health.findings import told
from zoomexp.metrics.declared import DECLARED, SPEED, TRAIN_S
from zoomexp.metrics.quantity import Quantity
from zoomexp.processes import first_process
from zoomexp.results.recorded_quantities import overview


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
    module = "modules" if choices["attention"] == "none" else choices["attention"]  # of the network gone on from
    table.add_row("model", f"{module} after {places}" if places else "no module")
    if health := told(facts):
        table.add_row("health", escape(health), style="red")
    if changed := facts.get("changed"):
        table.add_row("stale", escape(f"{changed} changed after it was finished"), style="red")
    for name, quantity in tested(facts).items():
        table.add_row(f"test {quantity.name}", quantity.text(metrics[name]))
    table.add_row("parameters", f"{cost['params']:,} (module {cost['module_params']:,})")
    table.add_row("MACs", f"{cost['macs'] / 1e6:,.2f} M per image")
    speed = f"{SPEED.number(cost['img_per_s'])} {SPEED.heading}" if cost["img_per_s"] else ""
    trained = f"{TRAIN_S.text(cost['train_s'])}, {speed}" if speed else "none, only tested,"
    table.add_row("training", f"{trained} on {cost['device']}")
    table.add_row("run folder", str(from_here(folder)))
    return table


def from_here(folder: Path) -> Path:
    """A folder as it is shown: from the current one on, where it lies below that."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def tested(facts: Mapping[str, Any]) -> dict[str, Quantity]:
    """What the end table has of a run: the overview's quantities, each with its own controls after it."""
    found: dict[str, Quantity] = {}
    for name, quantity in overview([facts]).items():
        found[name] = quantity
        controls = {f"test/{one.key}": one for one in DECLARED if one.key.startswith(f"{quantity.key}/")}
        found |= {full: one for full, one in controls.items() if full in facts["metrics"]}
    return found
