"""An address that nobody answers, a job that crashes, and the table as a whole."""

import re

import pytest

RUN = ("dataset=digits", "dataset.train_size=128", "dataset.test_size=60", "trainer.max_epochs=1", "attention=none")


@pytest.mark.slow
def test_wandb_unreachable(start, stored, tmp_path, row):
    unplugged = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_INIT_TIMEOUT": "2"}
    process = start(*RUN, "logger=wandb", "logger.mode=online", f"output_dir={tmp_path / 'out'}", **unplugged)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, stored()["status"]) == (0, "finished"), err
    (kept,) = tmp_path.glob("out/runs/*/*/*/wandb/offline-run-*/*.wandb")
    assert kept.stat().st_size > 1000
    said = re.sub(r"\(.*\)", "(why)", err)  # W&B's own words differ
    row("W&B unreachable", "an address that nobody answers", 0, said, "the run finishes")


def test_job_of_a_sweep_crashes(train, stored, tmp_path, row):
    base = (*RUN, "logger=none")
    assert train("seed=1", base=base).code == 0
    (folder,) = tmp_path.glob("out/runs/*/*/seed1-*")
    for name in ("predictions.npz", "metrics.json"):
        (folder / name).unlink()
    (folder / "predictions.npz").mkdir()  # what the second job writes cannot take its place
    ended = train("-m", "seed=0,1,2", base=base)
    assert [stored(run=f"seed{seed}-*")["status"].split(":")[:2] for seed in (0, 1, 2)] == [
        ["finished"], ["failed", " IsADirectoryError"], ["finished"],
    ]  # fmt: skip
    assert "job 2 failed: IsADirectoryError" in ended.err
    left = "the others are done; the job's file and record say why"
    row("job of a sweep crashes", "a folder in the place of a file", ended.code, ended.err.splitlines()[-1], left)


def test_the_table_has_each_fault_once(table, faults):
    assert [line.split(" | ")[0].removeprefix("| ") for line in table] == list(faults)
