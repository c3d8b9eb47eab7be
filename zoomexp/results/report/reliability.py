"""How often a classifier is right where it is so and so sure: the reliability diagram of a run's test images."""

import numpy as np
import scipy  # scipy.stats, slow to import, is loaded when first asked for

from zoomexp.metrics.calibration import calibration_curve
from zoomexp.results.predictions import FILE, Predictions
from zoomexp.results.report.plots import Axis, Plot, Point, curves
from zoomexp.results.report.runs import RecordedRun

PERCENT = (0.0, 100.0)
SURE, RIGHT = Axis("Confidence (%)", 1, bounds=PERCENT), Axis("Right (%)", 1, bounds=PERCENT)
IDEAL = "as sure as right"


def reliability(run: RecordedRun) -> list[Plot]:
    """The diagram, with bins of equal mass as the calibration error has them, and Wilson's 95 % interval in each.

    A second curve is of the confidences at the temperature that was fitted to validation images, where the run has one.
    None of a run that kept no confidences, as published ones.
    """
    said = Predictions(run.folder / FILE)
    shown = {"as it is": "confidence", _scaled(run): "confidence_t"}
    points = [
        point
        for series, name in shown.items()
        if name in said and "acc1" in said
        for point in _points(series, *calibration_curve(said[name], said["acc1"]))
    ]
    ideal = [Point(end, end, IDEAL) for end in PERCENT]
    return [curves("How often it is right where it is so sure", SURE, RIGHT, [*points, *ideal])] if points else []


def _scaled(run: RecordedRun) -> str:
    temperature = run.facts["metrics"].get("test/temperature")
    return f"at temperature {temperature:.2f}" if isinstance(temperature, float) else "at its temperature"


def _points(series: str, sure: np.ndarray, right: np.ndarray, images: np.ndarray) -> list[Point]:
    found = []
    for where, share, n in zip(sure.tolist(), right.tolist(), images.tolist(), strict=True):
        ends = scipy.stats.binomtest(round(share * n), n).proportion_ci(method="wilson")
        found.append(Point(100 * where, 100 * share, series, 100 * float(ends.low), 100 * float(ends.high)))
    return found
