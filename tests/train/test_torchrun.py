"""Two torchrun agents, as on two machines: one run folder, one record; SIGTERM stops both, the same command goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
RUN = (
    "dataset=digits", "dataset.train_size=960", "dataset.test_size=61", "dataset.batch_size=32", "attention=none",
    "logger=none", "trainer=ddp", "trainer.accelerator=cpu", "trainer.num_nodes=2", "trainer.devices=1",
    "trainer.max_epochs=6",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def start(popen, tmp_path):
    """`start()` starts both agents; those that still run are killed with the test."""

    def run() -> list[subprocess.Popen]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "HYDRA", "PL_"))}
        own |= {"OMP_NUM_THREADS": "1"}
        common = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
        agents = []
        for rank in (0, 1):
            command = [sys.executable, "-m", "torch.distributed.run", *common, f"--node-rank={rank}"]
            command += [str(ROOT / "train.py"), *RUN, f"output_dir={tmp_path / 'out'}"]
            agents.append(popen(command, env=own, cwd=ROOT))
        return agents

    return run


@pytest.mark.slow
def test_stopped_and_started_again(start, tmp_path):
    agents, deadline = start(), time.monotonic() + 200
    while not list(tmp_path.glob("out/runs/*/*/*/history.csv")):
        assert time.monotonic() < deadline and agents[0].poll() is None
        time.sleep(0.05)
    for agent in agents:
        agent.send_signal(signal.SIGTERM)
    said = [agent.communicate(timeout=100)[1] for agent in agents]
    assert sum(text.count("stopped by SIGTERM: give the command again") for text in said) == 1
    (folder,) = tmp_path.glob("out/runs/*/*/*/")
    assert json.loads((folder / "metrics.json").read_text())["status"] == "interrupted: SIGTERM"

    agents = start()
    ended = [agent.communicate(timeout=250) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], ended
    assert [out.count("run folder") for out, _ in ended] == [1, 0]
    assert list(tmp_path.glob("out/runs/*/*/*/")) == [folder]
    facts = json.loads((folder / "metrics.json").read_text())
    assert (facts["status"], facts["cost"]["devices"]) == ("finished", 2)
    assert list(pd.read_csv(folder / "history.csv")["epoch"]) == list(range(6))
    index = np.load(folder / "predictions.npz")["index"]
    assert len(index) == 61 and (np.diff(index) > 0).all()  # every test image once
