"""A run that does not learn is marked wherever it is shown."""

import io
import json

import pytest
from rich.console import Console

from zoomexp.health.findings import Finding, recorded, told
from zoomexp.results.collect import finished_run
from zoomexp.results.filling import RunResult, fill
from zoomexp.results.rendering import csv, html, latex, markdown, terminal
from zoomexp.results.summary import run_table
from zoomexp.results.sweep_table import sweep_table
from zoomexp.results.table import Column, Row, Table

SHUT, CHANCE, OPEN = (
    Finding("shut", 0.02, 0, "layer2", "Loupe"), Finding("chance", 9.9, 2), Finding("open", 99.9, 1, "layer2", "Loupe"),
)  # fmt: skip
COST = {"insertion_sites": ["layer2"], "params": 10, "module_params": 2, "macs": 1e6, "train_s": 1.0, "img_per_s": 9.0,
        "device": "CPU"}  # fmt: skip


def facts(*findings):
    health = recorded(findings)
    return {"status": "finished", "choices": {"attention": "loupe"}, "metrics": {"test/acc1": 9.9}, "cost": COST,
            "health": health}  # fmt: skip


def shown(what):
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()


def filled(*healths):
    """A row of one run for each of `healths`, reported as 91.4."""
    table = Table(
        name="a/b", title="T", source="S", columns=(Column(key="test/acc1", name="Top-1"),),
        rows=(Row(name="loupe", reported={"test/acc1": 91.4}),),
    )  # fmt: skip
    runs = [RunResult({"test/acc1": 90.0 + i}, {}, i, health=told(facts(*one))) for i, one in enumerate(healths)]
    return fill(table, {"loupe": runs}, "paper", "sha")


def test_the_table_at_the_end_of_a_run(tmp_path):
    text = shown(run_table(facts(SHUT, CHANCE), tmp_path))
    assert "not learned: the mask of Loupe at layer2 is shut (mean 0.02 %) since epoch 1; the accuracy stays" in text
    assert "health" not in shown(run_table(facts(), tmp_path))


def test_a_run_that_goes_on_from_another_names_no_module_of_its_own(tmp_path):
    text = shown(run_table(facts() | {"choices": {"attention": "none"}}, tmp_path))
    assert "modules after layer2" in text and "none after" not in text


def test_the_table_of_a_sweep():
    jobs = [
        {"job": n, "overrides": [f"a={n}"], **facts(*one)} for n, one in enumerate(((CHANCE,), (SHUT,), (OPEN,), ()))
    ]
    lines = shown(sweep_table(jobs)).splitlines()[1:]
    ends = ("finished, not learned", "finished, module shut", "finished, module idle", "finished  ")
    assert all(end in line for line, end in zip(lines, ends, strict=False))


@pytest.mark.parametrize(
    ("healths", "mark", "verdict"),
    [
        (((CHANCE,), ()), "not learned: 1 of 2 runs", "not learned: 1 of 2 runs"),
        (((SHUT,), (SHUT,)), "module shut: 2 of 2 runs", "module shut: 2 of 2 runs"),
        (((OPEN,), ()), "module idle: 1 of 2 runs", "reproduced"),
        (((), ()), "", "reproduced"),
    ],
)
def test_a_paper_s_table(healths, mark, verdict):
    table = filled(*healths)
    (cell,) = table.rows[0].cells
    assert (cell.mark, cell.verdict, cell.mean) == (mark, verdict, 90.5)
    for form in (markdown, latex, html, csv, lambda one: shown(terminal(one))):
        text = " ".join(form(table).replace("\\", "").split())  # a terminal breaks lines
        assert mark in text
        assert ("since epoch" in text) is bool(mark)  # the reason stands in the notes


def test_what_has_passed_marks_nothing():
    gone = Finding("shut", 0.02, 0, "layer2", "Loupe", until=3)
    assert told(facts(gone)) == ""


def test_the_report(tmp_path, six_runs_page):
    text = six_runs_page(recorded([SHUT, CHANCE]))
    assert "not learned" in text
    assert "the mask of Loupe at layer2 is shut" in text
    assert "not learned" not in six_runs_page("ok")


@pytest.fixture
def six_runs_page(tmp_path):
    from tests.results.report.conftest import record
    from zoomexp.results.report.page import Facts, index_page
    from zoomexp.results.report.runs import read_runs

    def made(health):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        record(root, "loupe", 0, 9.9, health=health)
        runs, skipped = read_runs(root / "runs")
        assert not skipped
        return index_page([], runs, [], [], Facts("small", 3, "c" * 40, "today", "command"))

    return made


def test_a_network_that_is_tested_alone_has_the_mark_of_its_training(tmp_path):
    """Nobody watches a test; the record of the training beside it says that the module is shut."""
    runs = tmp_path / "runs" / "digits"
    needed = {"git": {}, "seed": 0}
    trained, tested = runs / "resnet20-loupe-default" / "seed0-1", runs / "trained-none-default" / "seed0-2"
    alone = {"cost": COST | {"train_s": 0}, "health": None, "start_weights": "elsewhere/runs/digits/" + "/".join(
        trained.parts[-2:])}  # fmt: skip
    for folder, own in ((trained, {}), (tested, alone)):
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(facts(SHUT) | needed | own))
    assert finished_run(tested, compare=False).health.startswith("module shut: the mask of Loupe")
    (tested / "metrics.json").write_text(json.dumps(facts() | needed | alone | {"cost": COST}))  # trained itself
    assert finished_run(tested, compare=False).health == ""
