"""What submitit is told of jobs where SLURM keeps no accounts. (Lost jobs: tests/train/test_launchers.py.)"""

import stat

import pytest

from zoomexp.upstream.submitit_repair import queue_watcher, slurm_keeps_accounts

QUEUE = "7_0|RUNNING\n7_1|PENDING\n7_2|COMPLETED\n8|CANCELLED\n6|RUNNING\n"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program(name, answer)` puts a shell script on the PATH, which has nothing else but /bin."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    def make(name: str, answer: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)

    return make


@pytest.mark.parametrize(
    ("job", "state", "done"),
    [("7_0", "RUNNING", False), ("7_1", "PENDING", False), ("7_2", "COMPLETED", True), ("8", "CANCELLED", True),
     ("7_3", "GONE", True)],
)  # fmt: skip
def test_states_from_the_queue(program, job, state, done):
    program("squeue", f"printf '{QUEUE}'")
    watcher = queue_watcher()
    for one in ("7_0", "7_1", "7_2", "7_3", "8"):
        watcher.register_job(one)
    assert watcher.get_state(job, mode="force") == state
    assert watcher.is_done(job, mode="cache") is done


def test_a_queue_that_does_not_answer_ends_no_job(program):
    program("squeue", "exit 1")
    watcher = queue_watcher()
    assert watcher.get_state("7_0", mode="force") == "UNKNOWN"
    assert watcher.is_done("7_0", mode="cache") is False


@pytest.mark.parametrize(("answer", "expected"), [("exit 0", True), ("exit 1", False)])
def test_accounts(program, answer, expected):
    program("sacct", answer)
    assert slurm_keeps_accounts() is expected


def test_no_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm_keeps_accounts() is True
