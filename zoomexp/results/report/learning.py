"""How runs learned: their epochs' scores, one run by one, and the seeds of a group together."""

import math
from collections.abc import Sequence

import pandas as pd

from zoomexp.metrics.quantity import capital
from zoomexp.results.recorded_quantities import main_of, meaning, overview
from zoomexp.results.report.curves import TOGETHER, Panel
from zoomexp.results.report.groups import SeedGroup
from zoomexp.results.report.plots import Axis, Plot, Point, curves
from zoomexp.results.report.runs import RecordedRun
from zoomexp.results.statistics import mean_interval

SPLITS = {"train": "training", "val": "validation"}
EPOCHS = 60  # points of a curve; of longer trainings evenly many are shown
EPOCH = Axis("Epoch", 0)


def read_history(run: RecordedRun) -> pd.DataFrame:
    """The epochs of a run, a row each; none where it has no history, or a damaged one."""
    try:
        return pd.read_csv(run.folder / "history.csv")
    except (OSError, ValueError):  # pandas' errors of parsing are ValueErrors
        return pd.DataFrame()


def run_curves(run: RecordedRun) -> list[Plot]:
    """A plot of training and validation for the main quantity, the loss, and what else overviews show of a run."""
    history, plots = read_history(run), []
    shown = [name.partition("/")[2] for name in overview([run.facts])]
    for key in dict.fromkeys((main_of(run.facts), "loss", *shown)):
        quantity, points = meaning(f"val/{key}", [run.facts]), []
        for split, name in SPLITS.items():
            points += _points(history, f"{split}/{key}", name)
        if points:
            y = Axis(capital(quantity.title), quantity.decimals, bounds=quantity.bounds)
            plots.append(curves(f"{y.title} by epoch", EPOCH, y, points))
    return plots


def group_curves(panel: Panel) -> Plot | None:
    """The groups' main quantity on the validation images by epoch, mean and interval over seeds; the best groups only.

    None where no run of the panel kept its epochs.
    """
    quantity, points = panel.main, []
    key = f"val/{quantity.key}"
    best = _best(panel)
    for group, label in best:
        points += _mean_points(group, key, label)
    if not points:
        return None
    y = Axis(capital(f"validation {quantity.title}"), quantity.decimals, bounds=quantity.bounds)
    chosen = "" if len(best) == len(panel.groups) else f" (the {len(best)} best of {len(panel.groups)} systems)"
    return curves(f"{y.title} by epoch, {panel.name}{chosen}", EPOCH, y, points)


def _best(panel: Panel) -> list[tuple[SeedGroup, str]]:
    """The best groups with their labels, in the panel's order."""
    pairs = list(zip(panel.groups, panel.labels, strict=True))
    sign = -1 if panel.main.higher_is_better is False else 1
    ranked = sorted(pairs, key=lambda pair: -sign * pair[0].measured(pair[0].main).mean)[:TOGETHER]
    return [pair for pair in pairs if pair in ranked]


def _mean_points(group: SeedGroup, key: str, label: str) -> list[Point]:
    """The mean over the seeds that have an epoch."""
    columns = [history[key].tolist() for history in map(read_history, group.runs) if key in history]
    points = []
    for epoch in _spread(max(map(len, columns), default=0)):
        values = [column[epoch] for column in columns if epoch < len(column) and math.isfinite(column[epoch])]
        if values:
            interval = mean_interval(values)
            low, high = (None, None) if interval.half_width is None else interval.ends()
            points.append(Point(epoch + 1, interval.mean, label, low, high, interval.n))
    return points


def _points(history: pd.DataFrame, column: str, series: str) -> list[Point]:
    values = history[column].tolist() if column in history else []
    return [Point(e + 1, values[e], series) for e in _spread(len(values)) if math.isfinite(values[e])]


def _spread(epochs: int) -> Sequence[int]:
    """At most `EPOCHS` epochs from 0 on, evenly spread, with the first and the last.

    >>> list(_spread(3)), len(_spread(182)), list(_spread(182))[-1]
    ([0, 1, 2], 60, 181)
    """
    if epochs <= EPOCHS:
        return range(epochs)
    return [round(i * (epochs - 1) / (EPOCHS - 1)) for i in range(EPOCHS)]
