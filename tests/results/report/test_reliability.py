"""The reliability diagram of a run's page, worked by hand."""

import numpy as np
import pytest

from zoomexp.results.report.reliability import IDEAL, reliability
from zoomexp.results.report.runs import read_runs


def diagram_of(root):
    return reliability(read_runs(root / "runs")[0][0])


def by_series(plots):
    (plot,) = plots
    rows = plot.spec["data"]["values"]
    return {
        name: [row for row in rows if row["series"] == name] for name in dict.fromkeys(row["series"] for row in rows)
    }


def test_bins_intervals_and_the_curve_at_the_temperature(tmp_path, record):
    folder = record(tmp_path, "gate", 0, 50.0, metrics={"test/acc1": 50.0, "test/temperature": 2.0})
    sure, right = np.repeat([0.6, 0.9], 4), np.array([1, 1, 0, 0, 1, 1, 1, 0], dtype=bool)
    np.savez(folder / "predictions.npz", index=np.arange(8), acc1=right, confidence=sure, confidence_t=sure - 0.1)
    found = by_series(diagram_of(tmp_path))
    assert [(round(row["x"], 6), row["y"]) for row in found["as it is"]] == [(60, 50), (90, 75)]
    assert [(round(row["x"], 6), row["y"]) for row in found["at temperature 2.00"]] == [(50, 50), (80, 75)]
    assert [(row["x"], row["y"]) for row in found[IDEAL]] == [(0, 0), (100, 100)]
    # Wilson, 2 of 4, by hand: centre 0.5, half width z sqrt(0.25 / 4 + z^2 / 64) / (1 + z^2 / 4)
    z = 1.959963985
    half = 100 * z * np.sqrt(0.25 / 4 + z**2 / 64) / (1 + z**2 / 4)
    assert [found["as it is"][0][end] for end in ("low", "high")] == pytest.approx([50 - half, 50 + half], abs=1e-4)


def test_a_run_without_a_temperature_has_one_curve(tmp_path, record):
    folder = record(tmp_path, "gate", 0, 50.0)
    np.savez(
        folder / "predictions.npz", index=np.arange(2), acc1=np.array([True, False]), confidence=np.array([0.9, 0.8])
    )
    assert list(by_series(diagram_of(tmp_path))) == ["as it is", IDEAL]


@pytest.mark.parametrize("kept", [None, {"index": np.arange(2), "acc1": np.ones(2)}])
def test_without_confidences_there_is_none(tmp_path, record, kept):
    folder = record(tmp_path, "gate", 0, 50.0)
    if kept is not None:
        np.savez(folder / "predictions.npz", **kept)
    assert diagram_of(tmp_path) == []
