"""Sweeps through Hydra's launchers: the same folders, table and exit code, whoever runs the jobs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    "dataset=digits", "dataset.train_size=128", "dataset.test_size=60", "trainer.max_epochs=1", "attention=none",
    "logger=none",
)  # fmt: skip
LAUNCHERS = {"joblib": ("hydra.launcher.n_jobs=2",), "submitit_local": ("hydra.launcher.timeout_min=5",)}


def command(script: str, *arguments: str, cwd: Path) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SUBMITIT", "HYDRA"))}
    return subprocess.Popen([sys.executable, str(ROOT / script), *arguments], env=own, cwd=cwd, **pipes)


def jobs(out: Path) -> list[dict]:
    """What the jobs of the only sweep left, by number."""
    (sweep,) = (out / "sweeps").iterdir()
    return sorted((json.loads(file.read_text()) for file in sweep.glob("job_*.json")), key=lambda job: job["job"])


def records(out: Path) -> dict[int, dict]:
    """The runs' records, by seed."""
    found = [json.loads(file.read_text()) for file in out.glob("runs/*/*/*/metrics.json")]
    return {facts["seed"]: facts for facts in found}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_multirun(tmp_path, launcher):
    (tmp_path / "here").mkdir()
    process = command(
        "train.py", "-m", *TINY, "seed=0,1", f"output_dir={tmp_path / 'out'}", f"hydra/launcher={launcher}",
        *LAUNCHERS[launcher], cwd=tmp_path / "here",
    )  # fmt: skip
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert [line.split()[0] for line in out.splitlines() if re.match(r"\d+ .*finished", line)] == ["0", "1"]
    found = records(tmp_path / "out")
    assert {seed: facts["status"] for seed, facts in found.items()} == {0: "finished", 1: "finished"}
    for job in jobs(tmp_path / "out"):
        assert (job["status"], job["metrics"]) == ("finished", found[job["job"]]["metrics"])
    assert list((tmp_path / "here").iterdir()) == []  # all of it lies under output_dir
    assert not list((tmp_path / "out").rglob("*.partial*"))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_table(fake_mnist, tmp_path, launcher):
    fake_mnist(tmp_path, 60, 20)
    process = command(
        "scripts/reproduce.py", "table=cnntention/mnist", "scale=smoke", "seeds=1", "rows=1;4", "logger=none",
        f"data_dir={tmp_path}", f"output_dir={tmp_path / 'out'}", f"hydra/launcher={launcher}", *LAUNCHERS[launcher],
        cwd=tmp_path,
    )  # fmt: skip
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert [job["status"] for job in jobs(tmp_path / "out")] == ["finished", "finished"]
    assert "cnntention/mnist: 0 of 2 runs done" in out
    assert {path.name for path in tmp_path.iterdir()} == {"mnist.npz", "out"}


def process_of(log: Path) -> int:
    """The process that runs a job of submitit_local: the child of the one that its folder is named after."""
    parent = log.parent.name
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_a_job_that_is_killed(tmp_path):
    out = tmp_path / "out"
    arguments = (
        "train.py", "-m", *TINY[:3], "trainer.max_epochs=40,1", *TINY[4:], f"output_dir={out}",
        "hydra/launcher=submitit_local",
    )  # fmt: skip
    process, deadline = command(*arguments, cwd=tmp_path), time.monotonic() + 120
    while not (logs := [log for log in out.rglob("*_log.err") if "epoch 2/40" in log.read_text()]):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(process_of(logs[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "1 of 2 jobs failed"
    assert "Traceback" not in err
    lost, other = jobs(out)
    assert re.fullmatch(rf"lost: \w+, see {re.escape(str(logs[0]))}", lost["status"])
    assert "trainer.max_epochs=40" in lost["overrides"]
    assert other["status"] == "finished"
    (record,) = (facts for facts in map(json.loads, texts(out)) if facts["status"] != "finished")
    assert record["status"] == "running"  # nobody could write anything else


def texts(out: Path) -> list[str]:
    return [file.read_text() for file in out.glob("runs/*/*/*/metrics.json")]


def test_without_slurm(tmp_path, train, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = train("-m", "seed=0,1", "hydra/launcher=submitit_slurm", base=TINY)
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("error: hydra.launcher: the jobs cannot be submitted: ")
    assert "srun" in ended.err and "Traceback" not in ended.err
