"""A sweep of 200 jobs in one process: what it keeps, and what a job costs beside its training."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import Popen

import pytest

ROOT = Path(__file__).parents[2]
JOBS = 200
TINY = ("dataset=digits", "dataset.train_size=64", "dataset.test_size=20", "dataset.batch_size=32", "attention=none",
        "trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1",
        "trainer.limit_test_batches=1")  # fmt: skip
TICKS = os.sysconf("SC_CLK_TCK")  # in a second of processor time

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc"),
]


def look(pid: int) -> dict[str, float]:
    """Resident MiB, open files, threads, children, and seconds of processor time, the children's included."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    below = children(pid)
    return {
        "mib": int(status["VmRSS"].split()[0]) / 1024,
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
        "children": len(below),
        "cpu_s": sum(cpu_s(one) for one in [pid, *below]),
    }


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def cpu_s(pid: int) -> float:
    """Of a process, and of those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


def watched(process: Popen, folder: Path, jobs: int, timeout: float = 1100) -> list[dict[str, float]]:
    """What the sweep's process has when each job's file appears."""
    seen, ends = [], time.monotonic() + timeout
    while len(seen) < jobs and process.poll() is None and time.monotonic() < ends:
        done = len(list(folder.glob("sweeps/*/job_*.json")))
        if done > len(seen):
            seen += [look(process.pid)] * (done - len(seen))
        time.sleep(0.02)
    return seen


@pytest.fixture
def sweep(tmp_path) -> Iterator[Callable[..., Popen]]:
    """`sweep("seed=0,1")` starts a multirun of tiny runs; it writes under `tmp_path`, what it says too."""
    started = []

    def run(*words: str) -> Popen:
        command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *words, f"output_dir={tmp_path / 'out'}"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HYDRA", "WANDB", "PL_"))}
        with (tmp_path / "said").open("w") as said:  # a pipe that nobody reads would fill
            started.append(Popen(command, env=kept | {"OMP_NUM_THREADS": "1"}, cwd=ROOT, stdout=said, stderr=said))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("logger", "jobs", "most_s"), [("logger=none", JOBS, 0.3), ("logger.mode=offline", 40, 1.5)])
def test_what_a_sweep_keeps_and_costs(sweep, tmp_path, logger, jobs, most_s):
    process = sweep(logger, f"seed=range(0,{jobs})")
    seen = watched(process, tmp_path / "out", jobs)
    assert process.wait(60) == 0, (tmp_path / "said").read_text()[-2000:]
    records = [json.loads(path.read_text())["status"] for path in tmp_path.glob("out/runs/*/*/*/metrics.json")]
    assert records == ["finished"] * jobs
    late, last = seen[20], seen[-1]
    assert last["mib"] - late["mib"] < 50
    for kept in ("files", "threads", "children"):  # the better of some: a job's end can be seen while it closes things
        assert min(one[kept] for one in seen[-10:]) <= min(one[kept] for one in seen[11:21])
    assert min(one["children"] for one in seen[-10:]) <= 1  # the W&B service, which serves all jobs
    spent = [after["cpu_s"] - before["cpu_s"] for before, after in pairwise(seen[1:])]
    assert statistics.median(spent) < most_s
