"""scripts/reproduce.py end to end, on a few fake MNIST images."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from zoomexp.cli import reproduce, table_runs
from zoomexp.cli.known_runs import KnownRuns
from zoomexp.cli.main import main
from zoomexp.errors import InputError
from zoomexp.results.table import load_table

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "reproduce.py"


@pytest.fixture(scope="module")
def data(fake_mnist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    fake_mnist(folder, 60, 20)
    return folder


def start(data: Path, output: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), *arguments, f"data_dir={data}", f"output_dir={output}", "logger=none"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(output: Path) -> dict[str, float]:
    """Finished run folders and when their records were written."""
    files = output.glob("runs/**/metrics.json")
    return {f.parent.name: f.stat().st_mtime for f in files if json.loads(f.read_text())["status"] == "finished"}


def test_killed_and_started_again(data, forked, tmp_path):
    arguments = ("table=cnntention/mnist", "scale=smoke", "seeds=1", "rows=ResNet20;4")

    def do(output: Path) -> int:
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as ended:
            main(["reproduce", *arguments, f"data_dir={data}", f"output_dir={output}", "logger=none"])
        return ended.value.code

    first = forked(lambda: do(tmp_path / "killed"), wait=False)
    deadline = time.time() + 120
    while not finished(tmp_path / "killed"):
        assert time.time() < deadline and os.waitpid(first, os.WNOHANG) == (0, 0)
        time.sleep(0.02)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    done = finished(tmp_path / "killed")
    again = start(data, tmp_path / "killed", *arguments)
    text = again.communicate(timeout=120)[0]
    assert again.returncode == 0, text
    assert "cnntention/mnist: 0 of 1 runs done" in text
    assert done.items() <= finished(tmp_path / "killed").items()  # not written again
    assert do(tmp_path / "whole") == 0
    tables = [pd.read_csv(tmp_path / name / "tables/cnntention/mnist-smoke.csv") for name in ("killed", "whole")]
    kept = [table[table["column"] != "cost/train_h"] for table in tables]
    pd.testing.assert_frame_equal(*kept)
    check_table(kept[0], tmp_path / "killed/tables/cnntention/mnist-smoke.html")


def check_table(table: pd.DataFrame, page: Path) -> None:
    """Reported values are the table file's; what ran is measured, and not compared at smoke scale."""
    reported = {row.name: row.reported for row in load_table(ROOT / "configs/table", "cnntention/mnist").rows}
    for _, cell in table.iterrows():
        expected = reported[cell["row"]][cell["column"]]
        assert cell["reported"] == expected or (expected is None and np.isnan(cell["reported"]))
        ran = cell["row"] in ("ResNet20", "+ CBAM (r=16)")
        assert cell["n"] == (1 if ran else 0)
        allowed = ("not comparable: shortened schedule (scale=smoke)", "no reported value")
        assert cell["verdict"] in (allowed if ran else ("not run",))
    assert "98.52" in page.read_text() and "<script" not in page.read_text()
    if shutil.which("chromium"):
        check_in_browser(page)


def check_in_browser(page: Path) -> None:
    """Headless Chromium lays the page out and reports no console error."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=60)
    assert "98.52" in shown.stdout and "ResNet20" in shown.stdout
    assert "CONSOLE" not in shown.stderr


@pytest.fixture
def script(monkeypatch):
    from hydra import initialize_config_dir

    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        yield reproduce


def test_scalar_overrides_never_share_a_folder(script):
    one, two = (table_runs.seeded_runs(["experiment=cnntention/cifar10", f"optimizer.lr={lr}"], 3) for lr in (0.1, 0.2))
    assert len({run.folder for run in one + two}) == 6


def test_folders_are_those_of_train_py(script, monkeypatch, tmp_path):
    overrides = ["dataset=digits", "trainer=smoke", "attention=none", "logger=none", f"output_dir={tmp_path}"]
    expected = table_runs.seeded_runs(overrides, 2)[1]
    monkeypatch.setattr(sys, "argv", ["train.py", *expected.overrides])
    GlobalHydra.instance().clear()
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert (expected.folder / "metrics.json").exists()


def test_what_a_table_waits_for_is_counted_once_with_all_that_its_rows_need(script, monkeypatch, tmp_path):
    counted, levels = [], []

    @contextmanager
    def watched(name, folders):
        counted.extend(folders)
        yield

    monkeypatch.setattr(script, "watched", watched)
    monkeypatch.setattr(script, "launch", lambda name, runs, *_: levels.append([run.folder for run in runs]))
    table = load_table(ROOT / "configs/table", "zoomvit/digits_alpha")
    assert not script.reproduce(table, table.rows[:2], 1, "smoke", [f"output_dir={tmp_path}", "logger=none"], "false")
    # The network; the plain row and the Zoomer; the transformer with its tokens; that one at the row's threshold.
    assert [len(level) for level in levels] == [1, 2, 1, 1]
    assert sorted(counted) == sorted(folder for level in levels for folder in level)


def test_tables_by_name_and_pattern(script):
    found = script.named(["cnntention/mnist", "zoomvit/fig6*", "zoomvit/fig6b", "cnntention/mnist"])
    assert found == ["cnntention/mnist", "zoomvit/fig6a", "zoomvit/fig6b", "zoomvit/fig6cd"]


def test_a_typo_in_a_row_fails_before_anything_runs(script):
    table = load_table(ROOT / "configs/table", "cnntention/mnist")
    row = type(table.rows[0])(name="typo", overrides=("attention.treshold=1",))
    with pytest.raises(InputError, match=r"table cnntention/mnist, row 'typo': attention\.treshold: no such option"):
        script.row_runs(table, row, 1, "smoke", [])


def test_list_names_every_table(script, capsys, tmp_path):
    script.main(["--list", f"output_dir={tmp_path}"])
    text = capsys.readouterr().out
    names = [
        str(p.relative_to(ROOT / "configs/table").with_suffix("")) for p in ROOT.glob("configs/table/**/[!_]*.yaml")
    ]
    assert len(names) >= 20
    assert all(name in text for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table=cnntention/mnist", "seeds=0"], "seeds=0 must be a whole number, at least 1"),
        (["table=cnntention/mnist", "scale=big"], "scale=big is unknown; allowed: smoke, small, paper"),
        (["table=cnntention/nothing"], "known tables"),
        (["table=cnntention/mnist", "rows=nobody"], "no row 'nobody'"),
        (["table=cnntention/mnist", "optimizer.lr=1"], "optimizer.lr=1: not an option here"),
        (["seeds=2"], "table: must be given"),
        (["table=nobody/*"], "table=nobody/*: fits no table; known tables: "),
    ],
)
def test_bad_input_is_one_line(script, arguments, message):
    with pytest.raises(InputError) as error:
        script.main(arguments)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_report_of_nothing_is_refused_and_the_old_one_stays(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "CHECKOUT", tmp_path)
    monkeypatch.setattr(script, "RECORDS", tmp_path / "none")  # no published ones
    document = tmp_path / "docs" / "results.md"
    document.parent.mkdir()
    document.write_text("measured")
    with pytest.raises(InputError, match=r"^output_dir=.*typo: no finished run of any table; nothing was written$"):
        script.main(["--report", f"output_dir={tmp_path / 'typo'}"])
    assert document.read_text() == "measured" and not (tmp_path / "typo").exists()


@pytest.fixture
def one_run(script, tmp_path):
    """A table with one finished run below `tmp_path`, of a commit that is not this one."""
    table = load_table(ROOT / "configs/table", "cnntention/mnist")
    folder = table_runs.row_runs(table, table.rows[0], 1, "smoke", [f"output_dir={tmp_path}"])[0].folder
    folder.mkdir(parents=True)
    facts = {
        "status": "finished", "choices": {}, "seed": 0, "metrics": {"test/acc1": 50.0}, "cost": {},
        "git": {"sha": "0" * 40},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(facts))
    return table


def test_another_commit_is_stale_and_kept(script, one_run, tmp_path):
    cell = script.filled(one_run, KnownRuns(tmp_path, 1, "smoke", [])).rows[0].cells[0]
    assert (cell.mean, cell.stale) == (50.0, True)


def test_runs_that_were_found_once_are_not_composed_again(script, one_run, tmp_path, monkeypatch):
    first = KnownRuns(tmp_path, 1, "smoke", [f"output_dir={tmp_path}"])
    there = script.folders_there(tmp_path / "runs")
    found = first.folders(one_run, there)
    assert list(found) == [one_run.rows[0].name] and all(folder.is_dir() for folder in found[one_run.rows[0].name])
    first.save()
    monkeypatch.setattr("zoomexp.cli.known_runs.row_runs", lambda *_: pytest.fail("composed again"))
    assert KnownRuns(tmp_path, 1, "smoke", []).folders(one_run, there) == found
    nothing = KnownRuns(tmp_path / "none", 1, "smoke", [])
    assert nothing.folders(one_run, set()) == {}
    nothing.save()
    assert not (tmp_path / "none").exists()


@pytest.mark.data
def test_smoke_of_a_real_table_in_three_minutes(data_dir, tmp_path):
    started = time.time()
    process = start(data_dir, tmp_path, "table=cnntention/mnist", "scale=smoke", "seeds=1")
    text = process.communicate(timeout=180)[0]
    assert process.returncode == 0, text
    assert time.time() - started < 180
