"""A multirun's job files, table and exit code."""

import json

import pytest
from omegaconf import OmegaConf

from zoomexp.errors import DivergedError, InputError
from zoomexp.results.sweep import SweepTable, one_line, run_job

FACTS = {
    "status": "finished",
    "run": "digits/resnet20-none-default/seed0-aaaa",
    "seed": 0,
    "metrics": {"test/acc1": 91.25, "test/acc5": 99.5, "test/pointing_game": 33.0},
    "cost": {"params": 269_722, "macs": 40_550_000, "img_per_s": 1234.5},
}


def read(folder, job):
    return json.loads((folder / f"job_{job}.json").read_text())


def fails(error):
    def experiment():
        raise error

    return experiment


def end(folder):
    SweepTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}))


def test_a_finished_job_keeps_its_scores(tmp_path, capsys):
    run_job(lambda: FACTS, tmp_path / "sweep", 0, ["attention=none"])
    expected = {key: FACTS[key] for key in ("status", "run", "metrics", "cost")}
    assert read(tmp_path / "sweep", 0) == {"job": 0, "overrides": ["attention=none"], **expected}
    assert "job 1 attention=none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "traced"),
    [
        (InputError("seed=-1 must be\na whole number"), "failed: seed=-1 must be a whole number", False),
        (DivergedError("NaN at step 3"), "failed: DivergedError: NaN at step 3", False),
        (RuntimeError("out of\nmemory"), "failed: RuntimeError: out of memory", True),
    ],
)
def test_a_job_that_fails_says_why(tmp_path, capsys, error, status, traced):
    run_job(fails(error), tmp_path, 2, [])
    assert read(tmp_path, 2) == {"job": 2, "overrides": [], "status": status}
    err = capsys.readouterr().err
    assert status in " ".join(err.split())
    assert ("Traceback" in err) is traced


def test_an_interrupt_ends_the_sweep(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_job(fails(KeyboardInterrupt()), tmp_path, 0, [])


def test_the_table_lists_the_jobs_in_order_and_the_exit_code_tells_of_failures(tmp_path, capsys):
    for job in (10, 2, 0):
        run_job(lambda: FACTS, tmp_path, job, [f"optimizer.lr={job}"])
    end(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["job", "1", "3", "11"]
    assert lines[1].split() == ["1", "0", "91.25", "99.50", "33.00", "269,722", "40.5", "1,234"]
    assert lines[-3:] == [f"job {job}: {FACTS['run']}" for job in (1, 3, 11)]
    run_job(fails(InputError("no such thing")), tmp_path, 3, [])
    with pytest.raises(SystemExit) as ended:
        end(tmp_path)
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "1 of 4 jobs failed"
    assert next(line for line in out.splitlines() if line.startswith("4")).split() == [
        "4",
        "failed",
        "-",
        "-",
        "-",
        "-",
        "-",
        "-",
    ]
    assert out.splitlines()[-1] == f"job 11: {FACTS['run']}" and "job 4: failed: no such thing" in out


def test_one_line():
    assert one_line(InputError("a\n b")) == "a b"
    assert one_line(ValueError("a\n b")) == "ValueError: a b"
