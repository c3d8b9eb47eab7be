"""How a run's maps came about, on its page."""

import pandas as pd
import pytest

from zoomexp.results.report.dynamics import LOOKS, SHOWN, dynamics_curves
from zoomexp.results.report.runs import read_runs

COLUMNS = ("mean", "spread", "low", "high", "entropy", "gradient", "mask_path", "distance", "correlation")


def plots_of(root):
    return dynamics_curves(read_runs(root / "runs")[0][0])


def test_a_plot_for_each_quantity_and_a_series_for_each_site(tmp_path, record):
    folder = record(tmp_path, "gate", 0, 50.0)
    rows = [
        {"epoch": 0, "step": step, "site": site} | dict.fromkeys(COLUMNS, 0.25) | {"low": 0.1, "high": 0.4}
        | {"gradient": 0.01 if step else None} for step in (0, 5) for site in ("a", "b")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "dynamics.csv", index=False)
    plots = plots_of(tmp_path)
    assert [plot.columns["y"] for plot in plots] == [axis.title for axis in SHOWN.values()]
    first, last = plots[0].spec["data"]["values"], plots[-1].spec["data"]["values"]
    assert [(row["x"], row["y"], row["low"], row["high"], row["series"]) for row in first] == [
        (step, 0.25, 0.1, 0.4, site) for step in (0, 5) for site in ("a", "b")
    ]
    assert [(row["x"], row["series"]) for row in last] == [(5, "a"), (5, "b")]


def test_of_many_looks_some_are_shown(tmp_path, record):
    folder = record(tmp_path, "gate", 0, 50.0)
    rows = [{"epoch": 0, "step": step, "site": "a"} | dict.fromkeys(COLUMNS, 0.5) for step in range(1000)]
    pd.DataFrame(rows).to_csv(folder / "dynamics.csv", index=False)
    shown = [row["x"] for row in plots_of(tmp_path)[0].spec["data"]["values"]]
    assert len(shown) == LOOKS and (shown[0], shown[-1]) == (0, 999)


@pytest.mark.parametrize("text", [None, "", "step,site\n0,a\n", "\x00"])
def test_without_a_readable_file_there_is_no_plot(tmp_path, record, text):
    folder = record(tmp_path, "gate", 0, 50.0)
    if text is not None:
        (folder / "dynamics.csv").write_text(text)
    assert plots_of(tmp_path) == []


def test_a_file_without_the_masks_share_has_the_other_plots(tmp_path, record):
    folder = record(tmp_path, "gate", 0, 50.0)
    columns = [name for name in COLUMNS if name != "mask_path"]
    row = {"epoch": 0, "step": 0, "site": "a"} | dict.fromkeys(columns, 0.5)
    pd.DataFrame([row]).to_csv(folder / "dynamics.csv", index=False)
    titles = [axis.title for name, axis in SHOWN.items() if name != "mask_path"]
    assert [plot.columns["y"] for plot in plots_of(tmp_path)] == titles
