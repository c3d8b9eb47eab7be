"""A process that gets no more memory: smaller batches, as many more to a step, and the numbers stay."""

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

BIG = (
    "dataset=cluttered_digits", "dataset.train_images=512", "dataset.test_images=60", "dataset.val_fraction=0",
    "dataset.canvas=64", "dataset.batch_size=512", "dataset.eval_batch_size=60", "backbone=vit_digits",
    "attention=none", "trainer.max_epochs=1", "logger=none", "evaluate=last",
)  # fmt: skip
ROOM = 330 << 20  # bytes: more than a batch of 256 takes and less than one of 512
M_MMAP_THRESHOLD = -3  # of glibc: a larger block is a mapping of its own, which leaves no hole
ALONE = "ZOOMEXP_TEST_ALONE"
MADE = "a limit of the process's memory"


@contextlib.contextmanager
def memory(room: int):
    """Inside, this process gets at most `room` bytes more, and what it frees it gives back."""
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 17)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt") or not Path("/proc").exists(), reason="needs glibc, /proc"
)
def test_in_a_process_of_its_own():
    """oneDNN makes no kernel any more on a thread on which it once got no memory for one: no other test must follow."""
    command = [sys.executable, "-m", "pytest", "-m", "slow", f"{__file__}::test_out_of_memory"]
    done = subprocess.run(command, env=os.environ | {ALONE: "1"}, capture_output=True, text=True)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(ALONE not in os.environ, reason="runs in a process of its own")
def test_out_of_memory(train, stored, tmp_path, row):
    few = ("dataset.train_images=16", "dataset.batch_size=8", f"output_dir={tmp_path / 'first'}")
    assert train(*few, base=BIG).code == 0  # imports what takes memory itself
    with memory(ROOM):
        failed = train("trainer.on_oom=fail", base=BIG)
        status = stored()["status"]
        ended = train(base=BIG)
    assert status.startswith("failed: FaultError: out of memory with batches of 512; ")
    row("out of memory, trainer.on_oom=fail", MADE, failed.code, failed.err, "with more memory: goes on")
    assert (stored()["status"], stored()["cost"]["batch"]) == ("finished", 256), ended.err
    assert train(f"output_dir={tmp_path / 'whole'}", base=BIG).code == 0
    assert (stored("whole")["cost"]["batch"], stored("whole")["run"]) == (512, stored()["run"])
    assert stored()["metrics"] == pytest.approx(stored("whole")["metrics"], rel=1e-3)
    row("out of memory", MADE, ended.code, ended.err, "the run finishes; the same images decide each step")
