"""SIGTERM: the run stops in good order, SLURM runs the job again, and the numbers are those of a run left alone."""

import contextlib
import json
import os
import pickle
import re
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from zoomexp.run.interruption import SIGNALS, Interrupted, requeue, restarted, slurm_job, stopping_in_order

RUN = (
    "dataset=digits", "dataset.train_size=480", "dataset.test_size=100", "dataset.batch_size=32", "logger=none",
    "attention=none", "trainer.max_epochs=8",
)  # fmt: skip
AGAIN = "and it goes on after the last finished epoch"
PLACE = r"give the command again, and it goes on at epoch (\d+) of 8"
TIMES = ["epoch_s", "img_per_s"]


@pytest.fixture
def outside_slurm(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def slurm(tmp_path, outside_slurm):
    """`slurm(state)` puts programs on the PATH that answer as SLURM's do, and note how they were called."""

    def pretend(state: str, refusal: str = "") -> Path:
        calls = tmp_path / "calls"
        programs = {"squeue": f"echo {state}", "scontrol": f"echo '{refusal}' >&2; exit 1" if refusal else "exit 0"}
        for name, answer in programs.items():
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\necho {name} $* >> {calls}\n{answer}\n")
            program.chmod(0o755)
        outside_slurm.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        return calls

    return pretend


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)  # the handler comes before this ends


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGUSR1, "SIGUSR1", 138), (signal.SIGINT, "SIGINT", 130)],
)
def test_a_signal_ends_what_is_inside(outside_slurm, capfd, number, name, code):
    before = [signal.getsignal(one) for one in SIGNALS]
    with pytest.raises(Interrupted) as ended, stopping_in_order():
        send(number)
    assert (str(ended.value), ended.value.code) == (name, code)
    assert isinstance(ended.value, SystemExit)
    told = "Ctrl-C" if name == "SIGINT" else name
    assert capfd.readouterr().err == f"stopped by {told}: give the command again, {AGAIN}\n"
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_further_signals_do_not_disturb_the_cleaning_up(outside_slurm):
    """Neither those that are sent again, nor torch's, which raises because data loader workers have ended."""
    cleaned, children = [], lambda number, frame: pytest.fail("a worker is dead")
    before = signal.signal(signal.SIGCHLD, children)
    try:
        with pytest.raises(Interrupted) as ended, stopping_in_order():
            try:
                send(signal.SIGTERM)
            finally:
                for number in (*SIGNALS, signal.SIGCHLD):
                    os.kill(os.getpid(), number)
                cleaned.append(True)
        assert cleaned == [True]
        assert ended.value.code == 143
        assert signal.getsignal(signal.SIGCHLD) is children
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_other_errors_and_ends_pass(outside_slurm, capfd):
    with stopping_in_order():
        pass
    with pytest.raises(ZeroDivisionError), stopping_in_order():
        _ = 1 / 0
    assert capfd.readouterr().err == ""


def test_a_thread_changes_no_handlers():
    before, found = signal.getsignal(signal.SIGTERM), []

    def inside() -> None:
        with stopping_in_order():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [before]


def test_travels_between_processes():
    assert pickle.loads(pickle.dumps(Interrupted(143))).code == 143


def test_the_job_as_slurm_names_it(outside_slurm):
    assert slurm_job() is None
    outside_slurm.setenv("SLURM_JOB_ID", "12")
    assert slurm_job() == "12"
    outside_slurm.setenv("SLURM_ARRAY_JOB_ID", "10")  # `scontrol requeue 10` would take the whole array
    outside_slurm.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert slurm_job() == "10_0"


def test_a_running_job_is_requeued(slurm, outside_slurm, capfd):
    calls = slurm("RUNNING")
    outside_slurm.setenv("SLURM_JOB_ID", "12")
    with contextlib.suppress(Interrupted), stopping_in_order():
        send(signal.SIGTERM)
    assert calls.read_text().splitlines() == ["squeue --noheader --format=%T --jobs=12", "scontrol requeue 12"]
    assert capfd.readouterr().err == (
        "stopped by SIGTERM: SLURM job 12 is requeued and goes on after the last finished epoch\n"
    )


def test_ctrl_c_requeues_nothing(slurm, outside_slurm, capfd):
    calls = slurm("RUNNING")
    outside_slurm.setenv("SLURM_JOB_ID", "12")
    with contextlib.suppress(Interrupted), stopping_in_order():
        send(signal.SIGINT)
    assert not calls.exists()
    assert "requeued" not in capfd.readouterr().err


@pytest.mark.parametrize(("state", "why"), [("COMPLETING", "it is completing"), ("", "it is gone")])
def test_a_cancelled_job_is_not(slurm, outside_slurm, capfd, state, why):
    calls = slurm(state)
    outside_slurm.setenv("SLURM_JOB_ID", "12")
    with contextlib.suppress(Interrupted), stopping_in_order():
        send(signal.SIGTERM)
    assert "requeue" not in calls.read_text()
    assert capfd.readouterr().err == (
        f"stopped by SIGTERM: SLURM job 12 is not requeued ({why}); submitted again, {AGAIN[4:]}\n"
    )


def test_a_refusal_is_told(slurm):
    slurm("RUNNING", refusal="Requested operation is presently disabled for job 12")
    assert requeue("12") == "Requested operation is presently disabled for job 12"


def test_without_slurm_s_programs(outside_slurm, tmp_path):
    outside_slurm.setenv("PATH", str(tmp_path))
    assert "squeue" in requeue("12")


@pytest.mark.parametrize(("count", "expected"), [(None, False), ("0", False), ("2", True)])
def test_restarted(outside_slurm, count, expected):
    if count:
        outside_slurm.setenv("SLURM_RESTART_COUNT", count)
    assert restarted() is expected


def rows(path: Path) -> int:
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def stopped(process, folder: Path) -> tuple[int, str]:
    """Stop a run after its second epoch; its exit code and what it said."""
    deadline = time.monotonic() + 120
    while rows(folder / "history.csv") < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def test_a_stopped_run_ends_with_the_same_numbers(train, start, tmp_path):
    assert train(base=RUN).code == 0
    (whole,) = tmp_path.glob("out/runs/*/*/seed*")
    folder = tmp_path / "stopped" / whole.relative_to(tmp_path / "out")
    code, err = stopped(start(*RUN, f"output_dir={tmp_path / 'stopped'}"), folder)
    place = re.fullmatch(f"stopped by SIGTERM: {PLACE}", err.splitlines()[-1])
    assert code == 143
    assert int(place[1]) == torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 2
    assert "Traceback" not in err
    assert json.loads((folder / "metrics.json").read_text())["status"] == "interrupted: SIGTERM"
    assert not list(folder.rglob("*hpc*")) + list(folder.rglob("*.partial*"))
    assert train(f"output_dir={tmp_path / 'stopped'}", base=RUN).code == 0
    facts = [json.loads((one / "metrics.json").read_text()) for one in (whole, folder)]
    assert [one["status"] for one in facts] == ["finished", "finished"]
    assert facts[0]["metrics"] == facts[1]["metrics"]
    histories = [pd.read_csv(one / "history.csv").drop(columns=TIMES) for one in (whole, folder)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


@pytest.fixture
def ctrl_c(train, forked, tmp_path, capfd):
    """`ctrl_c(when, ...)` runs in a copy of this process, which gets SIGINT when `when()`: its exit code and words."""

    def run(when, *words: str) -> tuple[int, str, str]:
        process = forked(lambda: train(*words, base=()).code, wait=False)
        deadline = time.monotonic() + 120
        while not when() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process, signal.SIGINT)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        return code, *capfd.readouterr()

    return run


def test_ctrl_c_says_where_the_run_goes_on(ctrl_c, tmp_path):
    def two_epochs() -> bool:
        return any(rows(path) >= 2 for path in tmp_path.glob("out/runs/*/*/seed*/history.csv"))

    code, _, err = ctrl_c(two_epochs, *RUN)
    (folder,) = tmp_path.glob("out/runs/*/*/seed*")
    place = re.fullmatch(f"stopped by Ctrl-C: {PLACE}", err.splitlines()[-1])
    assert code == 130
    assert int(place[1]) == torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 2
    assert "Traceback" not in err
    assert json.loads((folder / "metrics.json").read_text())["status"] == "interrupted: SIGINT"


def test_ctrl_c_in_a_sweep_shows_what_is_done(ctrl_c, tmp_path):
    """The first job is done by then, and the second would take long."""

    def in_the_second_job() -> bool:
        return any(rows(path) >= 4 for path in tmp_path.glob("out/runs/*/*/seed0*/history.csv"))

    code, out, err = ctrl_c(in_the_second_job, "-m", *RUN[:-1], "trainer.max_epochs=3,400")
    assert code == 130
    assert re.search(r"stopped by Ctrl-C: give the command again, and it goes on at epoch \d+ of 400", err)
    table = out[out.index("job ") :]  # the first run's own table comes before
    assert [line[0] for line in table.splitlines() if line[:1].isdigit()] == ["1", "2"]
    assert {"finished", "interrupted:", "SIGINT"} <= set(table.split())
    assert "Traceback" not in err


def test_a_requeued_rerun_goes_on(train, tmp_path, monkeypatch):
    """`rerun=true` forgets what there was, but not again each time the job is requeued."""
    assert train("trainer.max_epochs=2").code == 0
    (folder,) = tmp_path.glob("out/runs/*/*/seed*")
    facts = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(facts | {"status": "interrupted: SIGTERM"}))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    ended = train("trainer.max_epochs=2", "rerun=true")
    assert "\nepoch " not in ended.err  # both epochs were there
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    assert train("trainer.max_epochs=2", "rerun=true").err.count("\nepoch ") == 2
