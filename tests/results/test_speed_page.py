"""Benchmarks' files become the page of speeds: published without folders, judged by goals, every row shown."""

import json
import re
from pathlib import Path

import pytest

from zoomexp.errors import InputError
from zoomexp.results.benchmarks import machine, publish
from zoomexp.results.speed_goals import Goal, goal_cell, goal_table, read_goals
from zoomexp.results.speed_page import page

ROWS = [
    {"table": "deit, fp32", "name": "plain", "ratio": 1.0, "least": 1.0, "most": 1.0, "of_ideal": 1.0},
    {"table": "deit, fp32", "name": "ragged, 103 tokens", "ratio": 1.9, "least": 1.8, "most": 2.0, "of_ideal": 0.94},
    {"table": "deit, bf16", "name": "ragged, 103 tokens", "ratio": 1.5, "least": 1.4, "most": 1.6, "of_ideal": 0.75},
    {"table": "deit, bf16", "name": "padded to 161", "ratio": 1.2, "least": 1.1, "most": 1.3, "of_ideal": 0.6},
]
CPU = "A Processor, one thread, CPU time"


def stored(name="zoomvit", *words, device=CPU, rows=ROWS, date="2026-11-21", sha="abcdef0123"):
    return {
        "command": ["python", "scripts/benchmark.py", name, *words], "date": f"{date}T10:00:00", "device": device,
        "instruction_set": "AVX2", "versions": {"torch": "2.11"}, "git": {"sha": sha, "dirty": False}, "rows": rows,
    }  # fmt: skip


def left(folder, *files):
    folder.mkdir()
    for i, one in enumerate(files):
        (folder / f"{one['command'][2]}-{one['date'][:10]}_10-00-0{i}.json").write_text(json.dumps(one))
    return folder


def goal(**said):
    return Goal(**{"text": "it", "command": "zoomvit", "row": "ragged*", "figure": "of_ideal"} | said)


def test_the_newest_of_a_command_and_machine_is_published_without_its_folders(tmp_path):
    words = "data_dir=/home/me/data", "rounds=3", "output_dir=/tmp/x"
    old, new = stored("data", *words, sha="old"), stored("data", *words, date="2026-11-22", sha="new")
    other = stored("data", *words, device="Another, one thread, CPU time")
    outputs = left(tmp_path / "outputs", new, old, other)
    copies = publish(outputs, tmp_path / "records")
    read = [json.loads(copy.read_text()) for copy in copies]
    assert sorted(one["git"]["sha"] for one in read) == ["abcdef0123", "new"]
    assert all(one["command"] == ["python", "scripts/benchmark.py", "data", "data_dir=DIR", "rounds=3"] for one in read)
    assert publish(outputs, tmp_path / "records") == copies and len(list((tmp_path / "records").iterdir())) == 2


@pytest.mark.parametrize(
    ("said", "cell"),
    [
        ({"at_least": 0.95, "table": "fp32"}, "0.940, not met"),
        ({"at_least": 0.7, "table": "bf16"}, "0.750, met"),
        ({"figure": "ratio", "at_most": 2.0}, "1.900 (1.800 to 2), met"),
        ({"figure": "ratio", "over": "padded*", "table": "bf16", "at_least": 1.3}, "1.250, not met"),
        ({"figure": "ratio", "where": {"ratio": 1.5}}, "1.500 (1.400 to 1.600)"),
        ({"row": "ragged"}, "not measured"),
        ({"command": "zoomvit depth=3"}, "not measured"),
        ({"command": "tokens"}, "not measured"),
        ({"figure": "us"}, "not measured"),
    ],
)
def test_a_goal_is_met_or_not_or_not_measured(said, cell):
    assert goal_cell(goal(**said), [stored()]) == cell


def test_a_machine_has_a_column_and_the_first_that_fits_fills_it():
    files = [
        stored("zoomvit", "depth=3", rows=[]),
        stored(),
        stored(device="Another, one thread, CPU time", rows=ROWS[3:]),
    ]
    table = goal_table([goal(at_most=350, unit="us")], files).splitlines()
    assert table[0] == "| | goal | A Processor (AVX2) | Another (AVX2) | what limits | benchmark |"
    assert table[2] == "| it | at most 350 us | 0.940 us, met | not measured |  | `zoomvit` |"
    assert machine(stored(device="NVIDIA H200 at 1980 MHz")) == "NVIDIA H200 at 1980 MHz"


def test_the_page_has_goals_by_kind_of_machine_and_every_row(tmp_path):
    folder = left(
        tmp_path / "records", stored(), stored("gpu-tokens", device="NVIDIA", rows=[{"name": "tome", "ms": 1.5}])
    )
    (folder / "goals.yaml").write_text(
        "- {text: on a CPU, command: zoomvit, row: plain, figure: ratio, at_least: 1}\n"
        "- {text: on a GPU, command: gpu-tokens, row: tome, figure: ms, unit: ms, at_most: 1, device: gpu}\n"
    )
    text = page(folder)
    assert (
        "| on a CPU | at least 1 | 1 (1 to 1), met |" in text
        and "| on a GPU | at most 1 ms | 1.500 ms, not met |" in text
    )
    assert text.index("on a GPU |") > text.index("## Goals on a GPU")
    assert "### zoomvit: A Processor (AVX2)" in text and "commit abcdef0." in text
    assert text.count("| ragged, 103 tokens |") == 2 and "| padded to 161 | 1.200 | 1.100 | 1.300 | 0.600 |" in text


def test_a_goal_of_unknown_fields_is_refused(tmp_path):
    (tmp_path / "goals.yaml").write_text("- {text: a, command: b, row: c, figure: d, atleast: 1}\n")
    with pytest.raises(InputError, match=r"goals.yaml, goal 0: unknown atleast; allowed: text, command"):
        read_goals(tmp_path / "goals.yaml")


def test_a_batch_in_the_words_of_a_goal_is_that_of_its_row():
    for one in read_goals(Path(__file__).parents[2] / "docs/records/benchmarks/goals.yaml"):
        named = re.search(r"batch (\d+)", one.text)
        assert named is None or one.where["batch"] == int(named[1]), one.text
