"""A SLURM cluster of one node; without SLURM's programs the tests here are skipped, and say so."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCHER = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=main", "hydra.launcher.cpus_per_task=1",
            "hydra.launcher.mem_gb=2", "hydra.launcher.timeout_min=30")  # fmt: skip


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands, and ours, find the cluster."""
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "HYDRA", "PL_"))}
    own |= {"SLURM_DEV_DIR": str(folder), "SLURM_DEV_PORT": "27817", "OMP_NUM_THREADS": "1"}
    script = str(ROOT / "scripts" / "dev" / "slurm.sh")
    started = subprocess.run([script, "start"], env=own, capture_output=True, text=True, timeout=120)
    if started.returncode == 3:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stderr
    yield own | {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([script, "stop"], env=own, check=True, timeout=120)
    assert not folder.exists()


@pytest.fixture
def slurm(cluster) -> Callable[..., str]:
    """`slurm("squeue", ...)` returns what the command prints."""
    return lambda *command: subprocess.run(
        command, env=cluster, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


@pytest.fixture
def start(cluster, popen, tmp_path) -> Callable[..., subprocess.Popen]:
    """`start("train.py", "-m", ...)` starts one of our commands on the cluster, writing under `tmp_path / "out"`."""

    def run(script: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, str(ROOT / script), *arguments, f"output_dir={tmp_path / 'out'}", *LAUNCHER]
        return popen(command, env=cluster, cwd=tmp_path)

    return run


@pytest.fixture
def in_epoch(tmp_path) -> Callable[[subprocess.Popen, str], tuple[str, Path]]:
    """`in_epoch(process, "3/4")` waits until a job has done that epoch; its SLURM name and its log."""

    def wait(process: subprocess.Popen, epoch: str) -> tuple[str, Path]:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            for log in sorted(tmp_path.rglob("*_log.err")):
                if f"epoch {epoch} " in log.read_text():
                    return log.parent.name, log
            time.sleep(0.1)
        raise AssertionError(f"no job came to epoch {epoch}")

    return wait
