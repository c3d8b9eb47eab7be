"""How a run's maps came about, where `callbacks=[default,dynamics]` watched: a plot a quantity, a series a site."""

import math

import pandas as pd

from zoomexp.results.report.plots import Axis, Plot, Point, curves
from zoomexp.results.report.runs import RecordedRun

FILE = "dynamics.csv"
STEP = Axis("Step", 0)
SHARE = (0.0, 1.0)
SHOWN = {
    "mean": Axis("Mean of the map, and its middle 80 % of cells", 3, bounds=SHARE),
    "spread": Axis("Standard deviation within an image", 3, bounds=(0.0, None)),
    "correlation": Axis("Correlation with the last map", 3, bounds=(-1.0, 1.0)),
    "distance": Axis("Mean distance from the last map", 3, bounds=(0.0, None)),
    "mask_path": Axis("The mask's share in the gradient at the module's input", 3, bounds=SHARE),
    "gradient": Axis("The module's share in the gradient's norm", 3, bounds=SHARE),
}
LOOKS = 200  # points of a curve; of more looks evenly many are shown


def dynamics_curves(run: RecordedRun) -> list[Plot]:
    """The plots; none of a run that was not watched, or whose file is damaged."""
    try:
        table = pd.read_csv(run.folder / FILE)
        table = table[table["step"].isin(_some(sorted(set(table["step"]))))]
        return [plot for name, axis in SHOWN.items() if (plot := _plot(table, name, axis))]
    except (OSError, ValueError, KeyError):  # pandas' errors of parsing are ValueErrors
        return []


def _plot(table: pd.DataFrame, name: str, axis: Axis) -> Plot | None:
    points: list[Point] = []
    if name == "mask_path" and name not in table:  # files from before 2026-11-29
        return None
    for row in table.to_dict("records"):
        if math.isfinite(row[name]):
            ends = (row["low"], row["high"]) if name == "mean" else (None, None)
            points.append(Point(row["step"], row[name], str(row["site"]), *ends))
    return curves(f"{axis.title}, step by step", STEP, axis, points) if points else None


def _some(steps: list[int]) -> list[int]:
    """At most `LOOKS` of them, with the first and the last."""
    if len(steps) <= LOOKS:
        return steps
    return [steps[round(i * (len(steps) - 1) / (LOOKS - 1))] for i in range(LOOKS)]
