"""A multirun: every job in its own folder, one that fails stops no other, a table, an honest exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TINY = (
    "dataset=digits", "dataset.train_size=128", "dataset.test_size=60", "trainer.max_epochs=1",
)  # fmt: skip
GRID = ("-m", "attention=none,cbam", "insertion=stage1,stage4", "seed=0,1", "logger=none")


def test_a_grid_with_jobs_that_fail(train, tmp_path):
    ended = train(*GRID, base=TINY)
    assert ended.code == 1
    (sweep,) = (tmp_path / "out" / "sweeps").iterdir()
    jobs = [json.loads((sweep / f"job_{number}.json").read_text()) for number in range(8)]
    assert sorted(path.name for path in sweep.glob("job_*")) == [f"job_{number}.json" for number in range(8)]
    names = [(a, i, s) for a in ("none", "cbam") for i in ("stage1", "stage4") for s in (0, 1)]
    assert [job["job"] for job in jobs] == list(range(8))
    runs = set()
    for (attention, insertion, seed), job in zip(names, jobs, strict=True):
        asked = [f"attention={attention}", f"insertion={insertion}", f"seed={seed}"]
        assert set(asked) <= set(job["overrides"])
        if (attention, insertion) == ("cbam", "stage4"):
            assert job["status"].startswith("failed: insertion.at=stage4: no site 'stage4'; allowed: ")
            assert "run" not in job
            continue
        facts = json.loads((tmp_path / "out" / "runs" / job["run"] / "metrics.json").read_text())
        assert (facts["status"], facts["seed"]) == ("finished", seed)
        assert (facts["choices"]["attention"], facts["choices"]["insertion"]) == (attention, insertion)
        assert {key: job[key] for key in ("status", "metrics", "cost")} == {
            key: facts[key] for key in ("status", "metrics", "cost")
        }
        runs.add(job["run"])
    assert len(runs) == 6
    assert len(list((tmp_path / "out" / "runs").rglob("metrics.json"))) == 6
    assert "2 of 8 jobs failed" in ended.err
    assert "Traceback" not in ended.err
    lines = [line for line in ended.out.splitlines() if line[:1].isdigit()]
    assert [line.split()[0] for line in lines] == ["1-2", "3-4", "5-6", "7-8"]
    for line, pair in zip(lines, (jobs[:2], jobs[2:4], jobs[4:6]), strict=False):  # the others failed
        assert f"{sum(job['metrics']['test/acc1'] for job in pair) / 2:.2f}" in line


def test_a_grid_without_failures(train, tmp_path):
    ended = train("-m", "attention=none", "seed=0,1", "logger=none", base=TINY)
    assert ended.code == 0
    assert "failed" not in ended.err
    single = train("attention=none", "seed=1", "logger=none", base=TINY)
    assert "epoch 1/1" not in single.err  # the job of the grid was this very run


def test_a_job_that_diverges(train, tmp_path):
    ended = train("-m", "optimizer.lr=0.1,1e30", "dataset.batch_size=32", "logger=none", base=TINY)
    assert ended.code == 1
    assert "1 of 2 jobs failed" in ended.err
    assert "Traceback" not in ended.err
    (sweep,) = (tmp_path / "out" / "sweeps").iterdir()
    status = json.loads((sweep / "job_1.json").read_text())["status"]
    assert status == "failed: DivergedError: the loss became NaN or infinite at step 1"


# W&B leaves the folders of its tables and pictures to the interpreter's end, which Python calls implicit.
WARNINGS = "default,ignore:Implicitly cleaning up:ResourceWarning"


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_one_offline_wandb_run_per_job(start, offline_run, tmp_path):
    mark = f"ZOOMEXP_TEST={tmp_path}"
    command = ["-m", *TINY, "attention=none,loupe", "seed=0,1", f"output_dir={tmp_path / 'out'}"]
    process = start(*command, ZOOMEXP_TEST=str(tmp_path), PYTHONWARNINGS=WARNINGS)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    for word in ("warn", "wandb:", "Traceback"):
        assert word not in (out + err).lower()
    folders = sorted(path.parent for path in tmp_path.glob("out/runs/*/*/*/metrics.json"))
    assert len(folders) == 4
    groups: dict[str, set[str]] = {}
    for folder in folders:
        (offline,) = folder.glob("wandb/offline-run-*")
        assert offline.name.endswith(folder.name)
        (stored,) = offline.glob("*.wandb")
        facts, run = json.loads((folder / "metrics.json").read_text()), offline_run(stored)
        attention = facts["choices"]["attention"]
        typed = "dataset.train_size=128 dataset.test_size=60 trainer.max_epochs=1"
        assert run.run.display_name == f"resnet20-{attention}-default {typed} seed{facts['seed']}"
        assert run.run.job_type == "train"
        assert {f"seed:{facts['seed']}", f"attention:{attention}"} <= set(run.run.tags)
        assert not [tag for tag in run.run.tags if "None" in tag]
        groups.setdefault(run.run.run_group, set()).add(attention)
        known = {name: value["last"] if isinstance(value, dict) else value for name, value in run.summary.items()}
        known = run.logged | known  # of an epoch's values the best is there, too
        assert {name: known[name] for name in facts["metrics"]} == pytest.approx(facts["metrics"], rel=1e-6)
        assert run.summary["cost/macs"] == facts["cost"]["macs"]
        pictures = list(offline.glob("files/media/images/maps/*.png"))
        assert len(pictures) == (8 if attention == "loupe" else 0)
    assert sorted(map(sorted, groups.values())) == [["loupe"], ["none"]]  # whatever the seed
    assert [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and has(p, mark)] == []


def has(process: Path, mark: str) -> bool:
    try:
        return mark.encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def test_starting_a_job_costs_little(train, tmp_path):
    """Twelve jobs that are done already: what is left is composing, hashing and reading."""
    grid = ("-m", "attention=none", "logger=none", "optimizer.lr=0.1", "trainer.limit_train_batches=1")
    train(*grid, "seed=0", base=TINY)
    spent = []
    for _ in range(2):  # the better of two: other processes share the caches
        before = os.times()
        assert train(*grid, "seed=" + ",".join(["0"] * 12), base=TINY).code == 0
        used = os.times()
        spent.append((used.user - before.user) + (used.system - before.system))
    assert min(spent) < 12 * 1.0  # 0.25 on an idle processor; importing anew would be 5


def test_the_sweep_callback_reads_job_files_of_other_processes(tmp_path, train):
    """With a launcher that uses processes, only files connect the jobs and the table."""
    code = (
        "from omegaconf import OmegaConf; from zoomexp.results.sweep import SweepTable, run_job; import pathlib, sys;"
        "folder = pathlib.Path(sys.argv[1]); run_job(lambda: {'status': 'finished', 'run': 'x/y'}, folder, 3, ['a=1'])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    assert json.loads((tmp_path / "job_3.json").read_text()) == {
        "job": 3, "overrides": ["a=1"], "status": "finished", "run": "x/y",
    }  # fmt: skip
