"""Runs as a data frame, and as the short table of a terminal."""

from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from zoomexp.metrics.quantity import Quantity
from zoomexp.results.recorded_quantities import meaning, overview
from zoomexp.results.report.runs import RecordedRun
from zoomexp.results.report.varied import varied
from zoomexp.results.selecting import facts_of
from zoomexp.results.terminal_table import fitted

COSTS = ("cost/params", "cost/macs_m", "cost/train_s")


def frame(runs: Sequence[RecordedRun]) -> pd.DataFrame:
    """A row for each run, a column for everything that a run holds: see `selecting.facts_of`."""
    return pd.DataFrame([facts_of(run) for run in runs])


def run_table(runs: Sequence[RecordedRun], width: int) -> Table:
    """A line for each run: its path, what varied, its scores and costs, as many as there is room for.

    Args:
        runs: which.
        width: columns of the terminal.
    """
    quantities = overview([run.facts for run in runs]) | {name: meaning(name) for name in COSTS}
    rows = [[run.path] for run in runs]
    headings = ["run"]
    if any(run.state != "finished" for run in runs):
        headings.append("status")
        rows = [[*row, run.state] for row, run in zip(rows, runs, strict=True)]
    for name, values in varied(runs).items():
        headings.append(name)
        rows = [[*row, value] for row, value in zip(rows, values, strict=True)]
    numbers = {one.heading: [_text(run, name, one) for run in runs] for name, one in quantities.items()}
    return fitted(headings, rows, numbers, width)


def _text(run: RecordedRun, name: str, quantity: Quantity) -> str:
    value = run.value(name)
    return "-" if value is None else quantity.number(value)
