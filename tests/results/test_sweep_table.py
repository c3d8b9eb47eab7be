"""The table of a sweep: rows, intervals, the best, and how it fits into a terminal."""

import io

import numpy as np
import pytest
import yaml
from rich.console import Console
from scipy import stats

from zoomexp.results.sweep_progress import count_jobs, progress
from zoomexp.results.sweep_table import sweep_table


def job(number, acc, *overrides, status="finished", **more):
    """What a job's file says."""
    scores = {"metrics": {"test/acc1": acc, "test/nll": acc / 100, "test/acc5": 99.0}} if status == "finished" else {}
    cost = {"cost": {"params": 1000, "macs": 2e6, "img_per_s": 50.0}} if scores else {}
    return {
        "job": number,
        "overrides": list(overrides),
        "status": status,
        "run": f"r{number}",
        **scores,
        **cost,
        **more,
    }


def lines(jobs, width=100):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(sweep_table(jobs, width))
    return console.export_text().splitlines()


SCORES = [("none", 90.0), ("none", 91.0), ("loupe", 93.0), ("loupe", 95.0)]
GRID = [job(i, acc, "dataset=digits", f"attention={name}", f"seed={i % 2}") for i, (name, acc) in enumerate(SCORES)]


def test_seeds_are_one_row_with_mean_and_interval_and_what_is_the_same_has_no_column():
    head, none, _, said = lines(GRID)
    assert head.split()[:4] == ["job", "attention", "seeds", "acc1"]
    half = stats.t.ppf(0.975, 1) * np.std([90, 91], ddof=1) / np.sqrt(2)
    assert none.split()[:6] == ["1-2", "none", "2", "90.50", "±", f"{half:.2f}"]
    assert "dataset" not in head
    assert said.startswith("mean ± 95 % over seeds; * best")


def test_the_best_has_a_star_in_the_direction_of_each_quantity():
    head, none, loupe, _ = lines(GRID, width=200)
    assert loupe.split()[:8] == ["3-4", "loupe", "2", "94.00", "(81.29", "to", "100.00)", "*"]
    at = head.index("nll")
    assert none[at - 12 :].count("*") == 1  # of a likelihood's negative the lower one
    assert none.split().count("*") == 1 and loupe.split().count("*") == 1


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_it_is_no_wider_than_the_terminal_and_says_what_it_left_out(width):
    found = lines(GRID, width)
    assert max(map(len, found)) <= width
    named = {name for name in ("acc1", "acc5", "nll", "params", "MMACs", "img_per_s") if name in "".join(found)}
    assert {"acc1", "acc5", "nll", "params"} <= named


def test_what_did_not_finish_is_said():
    found = lines([*GRID, job(4, 0, "dataset=digits", "attention=cbam", "seed=0", status="failed: ValueError: no"),
                   job(5, 80.0, "dataset=digits", "attention=cbam", "seed=1")])  # fmt: skip
    assert "1 failed; 1 finished" in found[3] and "80.00" in found[3]


def saved(folder, params, task):
    hydra = {"sweeper": {"params": params}, "overrides": {"task": task}}
    (folder / "multirun.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    return folder


def test_a_job_says_how_many_there_are_and_how_long_they_take(tmp_path):
    folder = saved(
        tmp_path, {"attention.threshold": "0.1,0.2", "seed": "0,1,2"}, ["seed=range(4)", "attention=a,b", "x=[1,2]"]
    )
    assert count_jobs(folder) == 2 * 4 * 2
    begun = (folder / "multirun.yaml").stat().st_mtime
    assert progress(folder, 0) == "job 1 of 16"
    for number in range(4):
        (folder / f"job_{number}.json").write_text("{}")
    assert progress(folder, 4, now=begun + 240) == "job 5 of 16, 12 min left"


def test_where_nobody_says_how_many_there_are_it_says_nothing_of_it(tmp_path):
    assert progress(tmp_path, 2) == "job 3"
    (tmp_path / "multirun.yaml").write_text("hydra: {}")
    assert count_jobs(tmp_path) is None
