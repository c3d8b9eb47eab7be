"""CPU seconds of what one waits for: help, a mistake, the smallest run, one more job of a sweep."""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from zoomexp.cli.config_files import PACKAGE
from zoomexp.cli.script_options import whole_numbers
from zoomexp.errors import InputError
from zoomexp.results.provenance import processor

OPTIONS = {"jobs": "4", "rounds": "3"}
TRAIN = (sys.executable, "-m", "zoomexp", "train")
SMOKE, JOB, IMPORTS = "trainer=smoke", "one more job of a sweep", "importing torch, Lightning and timm"
SMALL = ("-m", "trainer=smoke", "dataset=digits", "attention=none")


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Run everything once a round; further overrides go to the runs that train."""
    jobs, rounds = whole_numbers(options, "jobs", "rounds")
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, measure in measures(jobs, overrides).items():
            seconds.setdefault(name, []).append(measure())
    table = Table(
        "", "CPU seconds", "least", "most", title=f"{rounds} rounds, {processor()}, children's user and system"
    )
    rows: dict[str, dict[str, Any]] = {}
    for name, found in seconds.items():
        rows[name] = {"name": name, "cpu_s": median(found), "least": min(found), "most": max(found)}
        table.add_row(name, *(f"{value:.2f}" for value in list(rows[name].values())[1:]))
    Console(width=110).print(table)
    alone, job, imports = (rows[name]["cpu_s"] for name in (SMOKE, JOB, IMPORTS))
    print(f"ratio {alone / job:.1f}: a run in a process of its own to one more job of a sweep")
    print(f"ratio {alone / imports:.2f}: a run in a process of its own to the imports alone")
    return list(rows.values())


def measures(jobs: int, overrides: list[str]) -> dict[str, Callable[[], float]]:
    """What is measured, by name."""
    return {
        "train.py --help": partial(spent, "--help"),
        "a misspelt choice": partial(spent, "attention=louper", code=2),
        SMOKE: partial(spent, "trainer=smoke", *overrides),
        IMPORTS: imports,
        JOB: partial(one_more, jobs, "logger=none", *overrides),
        "one more job, W&B offline": partial(one_more, jobs, "logger=wandb", *overrides),
    }


def one_more(jobs: int, *overrides: str) -> float:
    """Seconds of a job: a sweep of 1 + `jobs` seeds less a sweep of one, shared out."""
    one, many = (spent(*SMALL, *overrides, f"seed=range({count})") for count in (1, 1 + jobs))
    return (many - one) / jobs


def spent(*arguments: str, code: int = 0) -> float:
    """CPU seconds of train.py and of what it starts and waits for, in a new output folder.

    Raises:
        InputError: If it ends with another code.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [] if "--help" in arguments else [f"output_dir={folder}"]
        seconds, done = timed([*TRAIN, *arguments, *outputs])
    if done.returncode != code:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"train.py {' '.join(arguments)} ended with code {done.returncode}: {last}")
    return seconds


def imports() -> float:
    """CPU seconds of Python and the libraries that every run needs: no run can take less."""
    libraries = "import zoomexp, torch, pytorch_lightning, timm"  # zoomexp itself is empty, but for a repair
    return timed([sys.executable, "-c", libraries], cwd=PACKAGE.parent)[0]


def timed(command: Sequence[str], **options: Any) -> tuple[float, subprocess.CompletedProcess[str]]:
    """CPU seconds of a command and of what it starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done
