"""Sweeps on a real SLURM: a table one of whose jobs is killed, preemption, cancelling, two processes in a job."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
RUN = (
    "dataset=digits", "dataset.train_size=960", "dataset.test_size=61", "dataset.batch_size=32", "attention=none",
    "logger=none",
)  # fmt: skip


def records(out: Path) -> dict[str, dict]:
    """Every record, by its run folder; reading fails if one is not whole."""
    return {str(file.parent.relative_to(out)): json.loads(file.read_text()) for file in out.rglob("metrics.json")}


def sweeps(out: Path) -> list[list[dict]]:
    """What the jobs of each sweep left."""
    return [
        [json.loads(file.read_text()) for file in sorted(sweep.glob("job_*.json"))]
        for sweep in sorted((out / "sweeps").iterdir())
    ]


def process_of(slurm: Callable[..., str], job: str) -> int:
    """The process that does a job's work: the first of its step 0."""
    number = slurm("squeue", "--noheader", f"--jobs={job}", "--format=%A")
    processes = [line.split() for line in slurm("scontrol", "listpids", f"{number}.0").splitlines()]
    return next(int(process) for process, *_, task in processes if task == "0")


def test_a_table_of_four_cells_one_of_whose_jobs_is_killed(start, slurm, in_epoch, fake_mnist, tmp_path):
    fake_mnist(tmp_path, 2000, 1000)
    table = ("scripts/reproduce.py", "table=cnntention/mnist", "scale=small", "rows=1;4", "seeds=2", "logger=none",
             f"data_dir={tmp_path}")  # fmt: skip
    first, out = start(*table), tmp_path / "out"
    victim, log = in_epoch(first, "1/3")
    os.kill(process_of(slurm, victim), signal.SIGKILL)
    _, err = first.communicate(timeout=600)
    assert first.returncode == 1
    assert err.splitlines()[-1] == "1 of 4 runs did not finish; give the command again to go on"
    assert "Traceback" not in err
    found = records(out)
    assert sorted(facts["status"] for facts in found.values()) == ["finished"] * 3 + ["running"]
    (jobs,) = sweeps(out)
    assert len(jobs) == 4
    (lost,) = (job for job in jobs if job["status"] != "finished")
    assert victim.endswith(f"_{lost['job']}")
    assert re.fullmatch(rf"lost: \w+, see {re.escape(str(log))}", lost["status"])

    second = start(*table)
    _, err = second.communicate(timeout=600)
    assert second.returncode == 0, err
    assert [len(jobs) for jobs in sweeps(out)] == [4, 1]  # what was missing, and nothing else
    again = records(out)
    assert {path: again[path] for path in found if found[path]["status"] == "finished"} == {
        path: facts for path, facts in found.items() if facts["status"] == "finished"
    }
    assert again.keys() == found.keys()
    for path, facts in again.items():
        assert facts["status"] == "finished"
        assert list(pd.read_csv(out / path / "history.csv")["epoch"]) == [0, 1, 2]
    assert not list((out / "runs").rglob("*.partial*"))


def test_a_preempted_job_goes_back_into_the_queue(start, slurm, in_epoch, tmp_path):
    sweep = start("train.py", "-m", *RUN, "trainer.max_epochs=10", "seed=0,1")
    in_epoch(sweep, "2/10")
    cores = slurm("sinfo", "--noheader", "--partition=urgent", "--format=%c")
    slurm("sbatch", "--partition=urgent", f"--cpus-per-task={cores}", "--output=/dev/null", "--wrap=sleep 1")
    _, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, err
    logs = [log.read_text() for log in sorted(tmp_path.rglob("*_log.err"))]
    said = re.findall(r"stopped by SIGTERM: SLURM job \d+_[01] is requeued and goes on after the", "".join(logs))
    assert len(said) in (1, 2)  # the second may not have begun
    (jobs,) = sweeps(tmp_path / "out")
    assert [job["status"] for job in jobs] == ["finished", "finished"]
    stopped = next(number for number, log in enumerate(logs) if "stopped by SIGTERM" in log)
    left_alone = [sys.executable, str(ROOT / "train.py"), *RUN, "trainer.max_epochs=10", f"seed={stopped}"]
    subprocess.run([*left_alone, f"output_dir={tmp_path / 'alone'}"], check=True, capture_output=True)
    ((path, expected),) = records(tmp_path / "alone").items()
    assert records(tmp_path / "out")[path]["metrics"] == expected["metrics"]
    assert list(pd.read_csv(tmp_path / "out" / path / "history.csv")["epoch"]) == list(range(10))


def test_a_cancelled_job_does_not_come_back(start, slurm, in_epoch, tmp_path):
    sweep = start("train.py", "-m", *RUN, "trainer.max_epochs=40", "seed=0")
    job, log = in_epoch(sweep, "1/40")
    slurm("scancel", job)
    _, err = sweep.communicate(timeout=300)
    assert (sweep.returncode, err.splitlines()[-1]) == (1, "1 of 1 jobs failed")
    (facts,) = records(tmp_path / "out").values()
    assert facts["status"] == "interrupted: SIGTERM"
    (((lost),),) = sweeps(tmp_path / "out")
    assert lost["status"] == f"lost: cancelled, see {log}"
    assert re.search(rf"SLURM job {job} is not requeued \(it is \w+\)", log.read_text())
    assert slurm("squeue", "--noheader") == ""


def test_two_processes_in_a_job(start, tmp_path):
    sweep = start(
        "train.py", "-m", *RUN, "trainer.max_epochs=2", "seed=0", "trainer=ddp", "trainer.accelerator=cpu",
        "trainer.devices=2", "hydra.launcher.tasks_per_node=2",
    )  # fmt: skip
    _, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, err
    (facts,) = records(tmp_path / "out").values()
    assert (facts["status"], facts["cost"]["devices"]) == ("finished", 2)
    ((job,),) = sweeps(tmp_path / "out")
    assert (job["status"], job["metrics"]) == ("finished", facts["metrics"])
