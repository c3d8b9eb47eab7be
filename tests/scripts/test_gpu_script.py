"""scripts/dev/gpu.sh: a part that there is not, what a run's line says. Its parts take minutes; TINY=1 tries them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoomexp.cli.benchmarks import graph
from zoomexp.results.speed_goals import NOT_MEASURED, goal_cell, read_goals

ROOT = Path(__file__).resolve().parents[2]


def started(*command, **extra):
    done = subprocess.run(command, env=os.environ | extra, capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout


def test_a_part_that_there_is_not(tmp_path):
    code, said = started("scripts/dev/gpu.sh", str(tmp_path), "graphs", OUTPUT_DIR=str(tmp_path / "out"))
    assert (code, said) == (2, "graphs: no such part; allowed: graph, tests, tokens, others, paper\n")


def test_no_step_begins_when_the_time_is_over(tmp_path):
    given = {"OUTPUT_DIR": str(tmp_path / "out"), "LIMIT": "0", "BRING": str(tmp_path), "PYTHON": "false"}
    code, said = started("scripts/dev/gpu.sh", str(tmp_path), "tests", **given)
    assert code == 1 and "== tests: left out, the time is over\n" in said and said.endswith("failed: tests\n")


@pytest.fixture
def asked(tmp_path):
    """`asked(part)` gives the words of each command of Python that a part of the script would have run."""

    def words(part):
        python, log = tmp_path / "python", tmp_path / "log"
        python.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
        python.chmod(0o755)
        code, said = started(
            "scripts/dev/gpu.sh", str(tmp_path), part, OUTPUT_DIR=str(tmp_path / "out"), PYTHON=str(python)
        )
        assert code == 0, said
        return [line.split() for line in log.read_text().splitlines()]

    return words


def test_the_goals_of_graphs_are_filled_by_what_the_script_measures(asked, monkeypatch):
    def tried(words):
        said = dict(word.split("=") for word in words)
        return {"img_per_s": 1e5, "batch": 128, "precision": said["trainer.precision"]}

    monkeypatch.setattr(graph, "tried", tried)
    monkeypatch.setattr(graph, "told", lambda rows: "")
    monkeypatch.setattr(graph, "at_once", lambda names, form, *_: {"name": f"together, {form}", "of_slowest": 1.2})
    files = []
    for command in asked("graph"):
        if command[:2] == ["scripts/benchmark.py", "graph"]:
            given = dict(word.split("=") for word in command[2:])
            options = {key: given.pop(key, value) for key, value in graph.OPTIONS.items()}
            rows = graph.run(options, [f"{key}={value}" for key, value in given.items()])
            files.append({"command": ["python", *command], "rows": rows})
    goals = [
        goal for goal in read_goals(ROOT / "docs/records/benchmarks/goals.yaml") if goal.command.startswith("graph")
    ]
    assert len(goals) == 6
    assert NOT_MEASURED not in [goal_cell(goal, files) for goal in goals]


@pytest.mark.parametrize(("part", "script"), [("graph", "train.py"), ("paper", "scripts/reproduce.py")])
def test_runs_that_share_the_card_replay_graphs(asked, part, script):
    (command,) = [one for one in asked(part) if one[0] == script]
    assert "trainer.graph=auto" in command
    assert ("trainer.precision=bf16-mixed" in command) is (part == "graph")  # the paper's own is single


def test_a_run_is_one_line(tmp_path):
    folder = tmp_path / "runs/cifar10/resnet20-none-default/seed0-1234"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"status": "finished", "metrics": {"test/acc1": 91.256}}))
    (folder / "history.csv").write_text("epoch,epoch_s,img_per_s,train/loss\n0,4,10,2.5\n1,1,2000,1.25\n")
    code, said = started(sys.executable, "scripts/dev/speeds.py", str(tmp_path))
    line = (
        "resnet20-none-default: 2 epochs in 5.0 s of training, 2,000 images/s, loss 1.2500, finished  test/acc1 91.26\n"
    )
    assert (code, said) == (0, line)
