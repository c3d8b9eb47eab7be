"""What a multirun leaves behind: one small file per job, a table at the end, and an honest exit code."""

import contextlib
import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from rich.console import Console
from rich.markup import escape

from zoomexp.atomic_file import write_text
from zoomexp.errors import DivergedError, FaultError, InputError, NotLearningError
from zoomexp.health.findings import mark
from zoomexp.results.record import told_by
from zoomexp.results.sweep_progress import progress
from zoomexp.results.sweep_table import sweep_table, told_jobs
from zoomexp.run.interruption import Interrupted
from zoomexp.upstream.submitit_repair import repair_submitit

WIDTH = 100  # of the table, where it is written into a file
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # where launchers say which of its processes a process is


def run_job(experiment: Callable[[], Mapping[str, Any]], sweep_dir: Path, job: int, overrides: list[str]) -> None:
    """Run one job of a multirun; an error ends the job and not the sweep.

    Args:
        experiment: Does the work and returns the facts of its `metrics.json`.
        sweep_dir: Where the job's file goes.
        job: Number of the job.
        overrides: The job's own overrides.
    """
    console = Console(stderr=True, quiet=not first())
    console.print(f"[bold]{progress(sweep_dir, job)}[/bold] {escape(' '.join(overrides))}", highlight=False)
    try:
        facts = dict(experiment())
    except (SystemExit, KeyboardInterrupt) as error:
        _write_job(sweep_dir, job, overrides, {"status": f"interrupted: {told_by(error)}"})
        raise
    except Exception as error:
        if not isinstance(error, InputError | DivergedError | NotLearningError | FaultError):
            traceback.print_exc()
        facts = {"status": f"failed: {one_line(error)}"}
        console.print(f"job {job + 1} {facts['status']}", style="red", markup=False, highlight=False)
    _write_job(sweep_dir, job, overrides, facts)


def _write_job(sweep_dir: Path, job: int, overrides: list[str], facts: Mapping[str, Any]) -> None:
    if not first():
        return
    names = ("status", "run", "metrics", "cost", "health", "changed", "main", "quantities")
    kept = {key: facts[key] for key in names if key in facts}
    sweep_dir.mkdir(parents=True, exist_ok=True)
    write_text(sweep_dir / f"job_{job}.json", json.dumps({"job": job, "overrides": overrides, **kept}, indent=2))


def first() -> bool:
    """Whether this is the first of the processes that share the jobs; Lightning knows, but takes seconds to import."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def one_line(error: BaseException) -> str:
    """An error as one line; an input error speaks for itself, any other is led by its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def remove_own(folder: Path) -> None:
    """Remove the folder that Hydra made for a process that is not the first; its name is the time of the start."""
    (folder / "multirun.yaml").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is the first one's, too
        folder.rmdir()


def close(error: BaseException) -> None:
    """End a multirun that an error has left: show what is done, or remove what was made if no job could begin."""
    if isinstance(error, Exception):
        leave_nothing()
    elif isinstance(error, KeyboardInterrupt | Interrupted) and SweepTable.folder and first():
        show_jobs(SweepTable.folder)


def show_jobs(folder: Path) -> list[dict[str, Any]]:
    """Print the table of the jobs that have a file in `folder`, whichever process wrote it; returns what they say."""
    files = sorted(folder.glob("job_*.json"), key=lambda path: int(path.stem.split("_")[1]))
    jobs = [json.loads(file.read_text()) for file in files]
    if jobs:
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(sweep_table(jobs, console.width))
        for line in told_jobs(jobs):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    return jobs


def leave_nothing() -> None:
    """Remove what Hydra made for a multirun of which no job could begin: it looks at the jobs only after that."""
    with contextlib.suppress(OSError):  # not made yet, or something else has come to lie there
        if SweepTable.made and [file.name for file in SweepTable.made[0].iterdir()] == ["multirun.yaml"]:
            (SweepTable.made[0] / "multirun.yaml").unlink()
            for folder in SweepTable.made:
                folder.rmdir()


class SweepTable(Callback):
    """Hydra callback: prints the table of a multirun and exits with 1 if a job failed."""

    folder: ClassVar[Path | None] = None  # of this process's multirun
    made: ClassVar[list[Path]] = []  # the folders that were not there before this process's multirun, the deepest first

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        """Let go of the job's configs; Hydra would keep those of every job until the end."""
        job_return.cfg = job_return.hydra_cfg = None

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """See to it that the launcher waits for every job, and note which folders are about to be made."""
        repair_submitit(config.hydra.launcher._target_)
        folder = Path(config.hydra.sweep.dir)
        SweepTable.folder = folder
        SweepTable.made = [one for one in (folder, *folder.parents) if not one.exists()]

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Read the jobs' files, whichever process wrote them."""
        if not first():
            remove_own(Path(config.hydra.sweep.dir))
            return
        jobs = show_jobs(Path(config.hydra.sweep.dir))
        for name, count in Counter(filter(None, map(mark, jobs))).items():
            sys.stderr.write(f"{name}: {count} of {len(jobs)} jobs\n")
        failed = sum(job["status"] != "finished" for job in jobs)
        if failed:
            sys.stderr.write(f"{failed} of {len(jobs)} jobs failed\n")
            sys.stderr.flush()
            sys.exit(1)
