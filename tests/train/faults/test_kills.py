"""SIGKILL: what was there stays, and the same command finishes with the numbers of an undisturbed run."""

import json
import os
import random
import signal
import time

import pytest
from filelock import FileLock

from zoomexp.weights.checkpoint import read_checkpoint

RUN = ("dataset=digits", "dataset.train_size=128", "dataset.test_size=60", "trainer.max_epochs=3", "logger=none",
       "attention=none")  # fmt: skip
AGAIN = "same command: goes on, numbers of an undisturbed run"


@pytest.mark.slow
def test_killed_before_a_file_is_in_place(killed_at, finishes, folders, row):
    """The first start puts no file in place, the second one, ...; each goes on where the last one was killed."""
    starts = []
    while not starts or starts[-1] != 0:
        starts.append(killed_at(1 + len(starts), None))
        for folder in folders():
            assert json.loads((folder / "metrics.json").read_text())["status"] in ("running", "finished")
            for path in folder.glob("checkpoints/*.ckpt"):
                read_checkpoint(path)
    assert len(starts) > 5 and set(starts[:-1]) == {-signal.SIGKILL}
    finishes()
    row("killed before a file is in place", "SIGKILL instead of a rename, again and again", None, "", AGAIN)


@pytest.mark.slow
def test_killed_at_random_moments(start, finishes, folders, tmp_path, row):
    draw = random.Random(0)
    for _ in range(3):
        process = start(*RUN, f"output_dir={tmp_path / 'out'}")
        before = [path.stat().st_mtime_ns for folder in folders() for path in folder.glob("metrics.json")]
        while process.poll() is None and before == [
            path.stat().st_mtime_ns for folder in folders() for path in folder.glob("metrics.json")
        ]:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1.5))  # the whole run takes about three
        process.kill()
        process.communicate()
    finishes()
    row("killed at random moments", "SIGKILL, three times", None, "", AGAIN)


def test_sweep_killed(train, killed_at, tmp_path, row):
    grid = ("-m", "seed=0,1", "trainer.max_epochs=1")
    assert killed_at(6, "metrics.json", *grid) == -signal.SIGKILL  # each job: beginning, data, end
    first, second = (
        [json.loads(path.read_text()), path] for path in sorted(tmp_path.glob("out/runs/*/*/*/metrics.json"))
    )
    assert (first[0]["status"], second[0]["status"]) == ("finished", "running")
    before = first[1].stat().st_mtime_ns
    assert train(*grid, base=RUN).code == 0
    assert (json.loads(second[1].read_text())["status"], first[1].stat().st_mtime_ns) == ("finished", before)
    row("sweep killed", "SIGKILL in the second job", None, "", "same command: does what is not finished, no more")


def test_same_run_asked_for_twice(train, forked, folders, stored, monkeypatch, row):
    first = forked(lambda: train(base=RUN).code, wait=False)
    while not folders():
        time.sleep(0.01)
    os.kill(first, signal.SIGSTOP)

    class Watched(FileLock):
        def acquire(self, timeout: float | None = None, **options):
            if timeout is None:  # it waits: the first may go on
                os.kill(first, signal.SIGCONT)
            return super().acquire(timeout, **options)

    monkeypatch.setattr("zoomexp.results.record.FileLock", Watched)
    second = train(base=RUN)
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == second.code == 0
    assert stored()["status"] == "finished" and second.err.count("epoch 1/") <= 1  # the first one's, at most
    row("same run asked for twice", "two processes", 0, second.err, "it is done once, and both show it")
