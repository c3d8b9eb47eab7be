"""The table of a study, worked by hand."""

import json

import pytest
import torch

from zoomexp.cli.study import INSTRUCTION_SETS, combinations, default
from zoomexp.results.study import read_groups, table


def record(folder, accuracy, pointing, health="ok", status="finished"):
    folder.mkdir(parents=True)
    metrics = {"test/acc1": accuracy} | ({} if pointing is None else {"test/pointing_game": pointing})
    facts = {
        "status": status, "choices": {}, "seed": 0, "metrics": metrics, "health": health,
        "versions": {"torch": "2.13.0"},
        "git": {"sha": "0123456789", "dirty": False}, "cost": {"device": "A processor", "instruction_set": "AVX2"},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(facts))


def test_table(tmp_path):
    for seed, (accuracy, pointing) in enumerate([(90.0, 60.0), (91.0, 70.0), (92.0, 80.0)]):
        record(tmp_path / "1_thread" / f"runs/set/host/seed{seed}-0", accuracy, pointing)
    record(tmp_path / "1_thread" / "runs/set/host/seed3-0", 10.0, 1.0, status="running")
    record(tmp_path / "cbam" / "runs/set/host/seed0-0", 12.0, None, health=[{"kind": "shut"}])
    lines = table(read_groups(tmp_path, ["1 thread", "cbam", "nothing"]), "the command").splitlines()
    assert lines[2:5] == [
        "| 1 thread | 3 | 91.00 +- 2.48 | 90.00 | 70.00 +- 24.84 | 60.00 | ok |",
        "| cbam | 1 | 12.00 | 12.00 | - | - | 1 of 1 ill |",
        "| all | 4 | 71.25 (8.38 to 100.00) | 12.00 | 70.00 +- 24.84 | 60.00 | 1 of 4 ill |",
    ]
    assert lines[-2:] == ["`the command`", "4 runs on A processor (AVX2), torch 2.13.0, commit 0123456."]


def test_runs_of_the_studies():
    jobs = default(10)
    assert [job.overrides for job in jobs[:10]] == [(f"seed={seed}",) for seed in range(10)]
    assert sum(job.threads == 2 for job in jobs) == 10
    assert {job.overrides for job in jobs if job.group == "another rounding"} == {
        ("seed=0", f"rounding={draw}") for draw in range(1, 6)
    }
    assert len(combinations(3)) == 36


@pytest.mark.parametrize(
    ("capability", "limits"),
    [("DEFAULT", []), ("AVX2", ["SSE41"]), ("AVX512", ["SSE41", "AVX2"]), ("SVE256", [])],
)
def test_a_processor_is_held_to_every_set_below_its_own(monkeypatch, capability, limits):
    """And to both libraries' names of it, or one of them would go on as before."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    jobs = [job for job in default(seeds=2) if job.environment]
    assert [job.environment["ONEDNN_MAX_CPU_ISA"] for job in jobs[::2]] == limits
    assert all(
        INSTRUCTION_SETS[job.environment["ONEDNN_MAX_CPU_ISA"]] == job.environment["ATEN_CPU_CAPABILITY"]
        for job in jobs
    )
