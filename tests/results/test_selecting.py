"""Runs that fulfil conditions, their table, their CSV, and two of them side by side."""

import json

import numpy as np
import pandas as pd
import pytest

from zoomexp.cli import runs as script
from zoomexp.errors import InputError
from zoomexp.results.report.runs import read_runs
from zoomexp.results.run_comparison import differences, paired_text
from zoomexp.results.runs_frame import frame
from zoomexp.results.selecting import Condition, parse, select
from zoomexp.results.statistics import mcnemar, p_text


@pytest.fixture
def made(tmp_path):
    """Six finished runs, gate at 80 to 82 and none at 90 to 92, and one that failed."""
    for attention, start in (("gate", 80.0), ("none", 90.0)):
        for seed in range(3):
            write(tmp_path, attention, seed, start + seed)
    write(tmp_path, "cbam", 0, 0.0, "failed: ValueError: no")
    return tmp_path


def write(root, attention, seed, acc, status="finished"):
    folder = (
        root / "runs" / "digits" / f"resnet20-{attention}-default" / f"seed{seed}-{'abc'[seed]}000000{len(attention)}"
    )
    folder.mkdir(parents=True)
    facts = {
        "status": status, "seed": seed, "git": {}, "overrides": [f"attention={attention}", f"seed={seed}"],
        "choices": {"dataset": "digits", "backbone": "resnet20", "attention": attention, "insertion": None},
        "metrics": {"test/acc1": acc}, "cost": {"params": 1000 + seed, "macs": 2e6},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(facts))
    (folder / "config.yaml").write_text(f"attention: {{threshold: 0.{len(attention)}}}\nseed: {seed}\n")
    right = np.random.default_rng(int(acc)).random(200) < acc / 100
    np.savez(folder / "predictions.npz", acc1=right, index=np.arange(200))


def chosen(root, *words):
    return [run.path.partition("resnet20-")[2] for run in select(read_runs(root / "runs")[0], parse(words))]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("dataset=digits", "test/acc1>90"), 2),
        (("test/acc1>=90",), 3),
        (("attention=gate,none", "seed=0"), 2),
        (("attention!=gate", "status=finished"), 3),
        (("attention=[gn]*",), 6),
        (("attention.threshold=0.4", "attention=gate"), 3),
        (("cost/params<1001", "test/acc1!=80"), 2),
        (("insertion=none",), 7),
        (("run=*gate*/seed1*",), 1),
    ],
)
def test_conditions_choose(made, words, count):
    assert len(chosen(made, *words)) == count


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("acc1>90", "acc1: no run has this; did you mean test/acc1?"),
        ("atention=gate", "atention: no run has this; did you mean attention"),
        ("test/acc1>high", "test/acc1>high: > needs a number, got 'high'"),
        ("digits", "digits: no condition; allowed: NAME=VALUE"),
    ],
)
def test_what_is_no_condition_is_one_line(made, word, message):
    with pytest.raises(InputError) as error:
        chosen(made, word)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_orders_of_texts_and_numbers():
    assert parse(["a.b >= 2", "c=x=y"]) == [Condition("a.b", ">=", "2"), Condition("c", "=", "x=y")]


def test_the_list_shows_what_varied_and_fits(made, capsys):
    script.main([f"output_dir={made}", "status=finished", "sort=-test/acc1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["run", "acc1"] and max(map(len, lines)) <= 100
    assert [line.split()[1] for line in lines[1:7]] == ["92.00", "91.00", "90.00", "82.00", "81.00", "80.00"]
    assert lines[-1] == "6 of 7 runs"


def test_everything_goes_into_a_csv_file(made, capsys):
    script.main([f"output_dir={made}", "attention=gate", f"out={made / 'deep' / 'runs.csv'}"])
    table = pd.read_csv(made / "deep" / "runs.csv")
    assert table["test/acc1"].tolist() == [80.0, 81.0, 82.0] and table["attention.threshold"].tolist() == [0.4] * 3
    assert frame(read_runs(made / "runs")[0]).shape[0] == 7


def test_two_runs_are_compared_option_by_option_and_image_by_image(made, capsys):
    every = {run.path.partition("resnet20-")[2]: run for run in read_runs(made / "runs")[0]}
    one, other = every["gate-default/seed0-a0000004"], every["none-default/seed1-b0000004"]
    assert differences(one, other) == {"seed": ("0", "1")}
    rights = [np.load(run.folder / "predictions.npz")["acc1"] for run in (other, one)]
    test = mcnemar(*rights)
    assert paired_text("test/acc1", one, other) == f"McNemar: {p_text(test.p_value)}"
    script.main([f"output_dir={made}", f"compare={one.folder},none-default/seed1"])
    said = capsys.readouterr().out
    assert "+11.00" in said and "McNemar" in said and "seed" in said


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("compare=gate", "compare=gate: must name two runs"),
        ("compare=gate,none", "compare: gate fits 3 runs: "),
        ("compare=x,y", "compare: x fits no run"),
        ("sort=test/ac1", "sort=test/ac1: no run has this; did you mean test/acc1?"),
    ],
)
def test_bad_input_is_one_line(made, argument, message):
    with pytest.raises(InputError) as error:
        script.main([f"output_dir={made}", argument])
    assert str(error.value).startswith(message)
