"""Learning curves of runs and groups."""

import numpy as np
import pandas as pd
import pytest

from zoomexp.results.report.curves import cost_panels
from zoomexp.results.report.learning import group_curves, run_curves
from zoomexp.results.report.runs import read_runs


def write(folder, **columns):
    pd.DataFrame(columns).to_csv(folder / "history.csv", index=False)


def test_a_run_has_a_plot_for_each_of_its_scores(tmp_path, record):
    folder = record(tmp_path, "gate", 0, 50.0)
    acc = {"train/acc1": [40.0, 60.0], "val/acc1": [30.0, np.nan]}
    write(folder, epoch=[0, 1], lr=[1, 2], **acc, **{"val/loss": [2.0, 1.0]})
    first, second = run_curves(read_runs(tmp_path / "runs")[0][0])
    assert [(r["x"], r["y"], r["series"]) for r in first.spec["data"]["values"]] == [
        (1, 40.0, "training"), (2, 60.0, "training"), (1, 30.0, "validation"),
    ]  # fmt: skip
    assert (first.columns["y"], second.columns["y"]) == ("Top-1 accuracy (%)", "Loss")


def test_a_group_is_the_mean_of_the_seeds_that_have_an_epoch(six, groups_of):
    root, _ = six
    for folder, values in zip(sorted(root.glob("runs/*/*gate*/*")), ([10.0, 20.0], [12.0, 22.0], [14.0]), strict=True):
        write(folder, **{"val/acc1": values})
    (panel,) = cost_panels(groups_of(root))
    rows = group_curves(panel).spec["data"]["values"]
    assert [(r["x"], r["y"], r["seeds"], r["series"]) for r in rows] == [
        (1, 12.0, 3, "resnet20 + gate"), (2, 21.0, 2, "resnet20 + gate"),
    ]  # fmt: skip
    assert rows[0]["high"] - rows[0]["y"] == pytest.approx(2 * 2.4841, abs=1e-3)  # t(0.975, 2) / sqrt(3) * 2


def test_without_epochs_there_is_no_plot(six, groups_of):
    root, _ = six
    assert run_curves(read_runs(root / "runs")[0][0]) == []
    assert group_curves(cost_panels(groups_of(root))[0]) is None
