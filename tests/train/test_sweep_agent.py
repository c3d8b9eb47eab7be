"""Jobs that W&B's own agent hands out: it starts the emitted command, offline, and the stored W&B run is read back."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.train.conftest import ROOT, OfflineRun, read_offline
from zoomexp.cli.config_files import configs
from zoomexp.cli.wandb_sweep import sweep_file
from zoomexp.errors import InputError
from zoomexp.results.stored import read_facts
from zoomexp.run.sweep_agent import with_values

SWEEP = ROOT / "configs" / "sweep" / "loupe_lambda.yaml"
SMALL = (
    "dataset=digits",
    "dataset.train_size=128",
    "dataset.test_size=60",
    "trainer.max_epochs=2",
    "logger.mode=offline",
)


def chosen(parameters: dict, **wanted) -> dict:
    """One job of a grid: what has several values gets those wanted, by the last part of its name."""
    return {
        name: chosen(entry["parameters"], **wanted)
        if "parameters" in entry
        else entry.get("value", wanted.get(name, entry.get("values", [None])[0]))
        for name, entry in parameters.items()
    }


@pytest.fixture
def agent(monkeypatch, tmp_path) -> Callable[..., int]:
    """`agent(emitted, job, run_id)` has W&B's agent do a job as if its server had sent it; returns the exit code."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("WANDB_RUN_ID", "")  # the agent sets both in its own environment: taken back after the test
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "")
    monkeypatch.chdir(ROOT)

    def run(emitted: dict, job: dict, run_id: str) -> int:
        from wandb.wandb_agent import Agent

        one = Agent(api=None, queue=None, sweep_id="sweep1")
        one._sweep_command = emitted["command"]
        args = {name: {"value": value} for name, value in job.items()}
        one._command_run({"run_id": run_id, "program": emitted["program"], "args": args})
        return one._run_processes[run_id].wait(timeout=600)

    return run


def stored(folder: Path, run_id: str) -> OfflineRun:
    (path,) = folder.glob(f"**/wandb/offline-run-*-{run_id}/*.wandb")
    return read_offline(path)


FILES = ("mistakes", "confusion", "calibration")  # whose names differ from W&B run to W&B run


def own(summary: dict) -> dict:
    """A summary without W&B's own entries, the last of the running averages, and the names of files."""
    left_out = ("_", "trainer/", "step/", "maps/", *FILES)
    return {name: value for name, value in summary.items() if not name.startswith(left_out)}


def test_jobs_of_an_agent_fill_their_w_and_b_runs_whole(agent, tmp_path):
    with configs():
        emitted = sweep_file(SWEEP, [*SMALL, "seed=0", f"output_dir={tmp_path / 'out'}"])
    job = chosen(emitted["parameters"], sparsity=0.5)
    assert agent(emitted, job, "first") == 0
    (folder,) = (path.parent for path in tmp_path.glob("out/runs/*/*/*/metrics.json"))
    facts, run = read_facts(folder), stored(tmp_path, "first")
    assert (run.run.sweep_id, run.run.run_id, run.run.display_name) == (
        "sweep1", "first", "resnet20-loupe-default loss=sparse_gate loss.sparsity=0.5 dataset.train_size=128 "
        "dataset.test_size=60 trainer.max_epochs=2 seed0",
    )  # fmt: skip
    # nested options, and choices under a key of their own
    assert (run.config["loss"]["sparsity"], run.config["attention"]["reduction"]) == (0.5, 4)
    assert run.config["attention"]["_target_"] == "zoomexp.attention.loupe.Loupe"
    assert (run.config["choices"]["attention"], run.config["choices"]["loss"]) == ("loupe", "sparse_gate")
    assert (run.config["seed"], run.config["dataset"]["train_size"]) == (0, 128)
    # epochs are the axis of what there is once an epoch; what is measured once is in the summary alone
    curve = [(row["epoch"], row["val/acc1"]) for row in run.rows if "val/acc1" in row]
    assert [epoch for epoch, _ in curve] == [0, 1]
    by_epoch = ("train/", "val/", "gate/", "maps/", "lr", "epoch_s", "img_per_s")
    assert all("epoch" in row for row in run.rows if any(name.startswith(by_epoch) for name in row))
    assert (run.axes["val/acc1"].step_metric, run.axes["val/nll"].step_metric) == ("epoch", "epoch")
    assert (run.axes["val/acc1"].summary.max, run.axes["val/nll"].summary.min) == (True, True)
    assert run.axes["step/*"].step_metric == "trainer/global_step"
    assert not [name for row in run.rows for name in row if name.startswith(("test/", "cost/"))]
    assert run.summary[emitted["metric"]["name"]] == max(value for _, value in curve)
    assert run.summary["test/acc1"] == facts["metrics"]["test/acc1"]
    assert run.summary["cost/params"] == facts["cost"]["params"]
    # the same job again: nothing is trained, and its W&B run is not empty
    written = (folder / "predictions.npz").stat().st_mtime_ns
    assert agent(emitted, job, "again") == 0
    assert (folder / "predictions.npz").stat().st_mtime_ns == written
    again = stored(tmp_path, "again")
    assert [(row["epoch"], row["val/acc1"]) for row in again.rows if "val/acc1" in row] == curve
    assert own(again.summary) == own(run.summary)
    assert all(any(name.startswith(file) for name in again.summary) for file in FILES)
    assert again.config == run.config
    assert (again.run.run_group, set(again.run.tags)) == (run.run.run_group, set(run.run.tags))


KILL = """
import os, signal
from pathlib import Path
import pytorch_lightning as pl

class Kill(pl.Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        done = Path(trainer.default_root_dir) / "killed"
        if trainer.current_epoch == 2 and not done.exists():
            done.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_job_that_was_killed_and_is_handed_out_again_has_every_epoch_once(agent, tmp_path, monkeypatch):
    (tmp_path / "own_kill.py").write_text(KILL)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    four = [word for word in SMALL if "epochs" not in word] + ["trainer.max_epochs=4", "seed=0"]
    own = [
        "logger=[wandb,csv]",
        "logger.mode=offline",
        "+callbacks.kill._target_=own_kill.Kill",
        f"output_dir={tmp_path / 'out'}",
    ]
    with configs():
        emitted = sweep_file(SWEEP, [*[word for word in four if word != "logger.mode=offline"], *own])
    job = chosen(emitted["parameters"], sparsity=0.5)
    assert agent(emitted, job, "killed") == -signal.SIGKILL
    assert agent(emitted, job, "again") == 0
    (folder,) = (path.parent for path in tmp_path.glob("out/runs/*/*/*/metrics.json"))
    history, run = pd.read_csv(folder / "history.csv"), stored(tmp_path, "again")
    by_epoch = [name for name in history if name not in ("epoch", "step")]
    assert {"train/loss", "val/acc1", "lr", "epoch_s"} <= set(by_epoch)
    for name in by_epoch:
        curve = [(row["epoch"], row[name]) for row in run.rows if name in row]
        assert curve == list(history[["epoch", name]].itertuples(index=False, name=None)), name
    assert run.summary["val/acc1"]["max"] == history["val/acc1"].max()
    assert run.summary["epochs"] == 4
    file = pd.read_csv(folder / "csv" / "metrics.csv")
    assert file["val/acc1"].dropna().tolist() == pytest.approx(history["val/acc1"].tolist())


def test_a_sweep_of_ones_own_that_names_choices_at_the_top_keeps_the_config_nested(agent, tmp_path):
    """What W&B's documentation shows: flat parameters, and the command with them as words."""
    emitted = {"program": "train.py", "command": ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]}
    small = dict(word.split("=") for word in SMALL)
    job = {**small, "output_dir": str(tmp_path / "out"), "attention": "attzoom", "attention.threshold": 0.3}
    assert agent(emitted, job, "flat") == 0
    run = stored(tmp_path, "flat")
    assert (run.config["attention"]["threshold"], run.config["choices"]["attention"]) == (0.3, "attzoom")
    assert run.config["attention.threshold"] == 0.3  # by which the sweep knows it
    assert isinstance(run.config["dataset"], dict)


def test_the_agents_flag_without_an_agent(monkeypatch):
    monkeypatch.delenv("WANDB_SWEEP_PARAM_PATH", raising=False)
    assert with_values(["attention=none"]) == ["attention=none"]
    with pytest.raises(InputError, match=r"--agent: only where an agent of a W&B sweep starts the command"):
        with_values(["--agent"])


def test_values_of_every_kind_become_words(monkeypatch, tmp_path):
    values = {"choices": {"callbacks": "[default,ema]"}, "seed": 3, "loss": {"sparsity": 1e-05}, "a": {"b": None},
              "insertion": {"at": ["stem", 2]}, "trainer": {"deterministic": True}}  # fmt: skip
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps({"wandb_version": 1} | {name: {"value": value} for name, value in values.items()}))
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(file))
    assert with_values(["x=1", "--agent", "y=2"]) == [
        "x=1", "callbacks=[default,ema]", "seed=3", "loss.sparsity=1e-05", "a.b=null", 'insertion.at=["stem", 2]',
        "trainer.deterministic=true", "y=2",
    ]  # fmt: skip
