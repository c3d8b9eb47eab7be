"""Makes submitit's launchers (`hydra/launcher=submitit_slurm`, `submitit_local`) outlive what happens to jobs.

A job can end without an answer: cancelled, out of memory or time, its node gone. As they are, the launchers then raise
while other jobs still run, and where SLURM keeps no accounts (`sacct` answers nothing) they wait for ever. Repaired:

- every job is waited for, and a lost one becomes a line of the sweep's table;
- without accounts, the queue says whether a job still runs;
- a submission that SLURM refuses is one line, which says why.

Libraries: submitit 1.5, hydra-submitit-launcher 1.2. Can go when `tests/train/test_launchers.py` (lost jobs) and
`tests/slurm` pass without it.
"""

import json
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from zoomexp.atomic_file import write_text
from zoomexp.errors import InputError


def repair_submitit(launcher: str) -> None:
    """Repair it for this process, if `launcher`, the path of a Hydra launcher's class, is one of its."""
    if "submitit" in launcher:
        _repair()


@lru_cache
def _repair() -> None:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
    from submitit import Job, SlurmJob
    from submitit.core.utils import UncompletedJobError

    launch, results = BaseSubmititLauncher.launch, Job.results

    def launch_or_say_why(self: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        try:
            return launch(self, job_overrides, initial_job_idx)
        except RuntimeError as error:
            raise InputError(f"hydra.launcher: the jobs cannot be submitted: {' '.join(str(error).split())}") from error

    def results_or_loss(job: Any) -> list[Any]:
        try:
            return results(job)
        except UncompletedJobError:
            write_loss(job)
            return [JobReturn(status=JobStatus.COMPLETED)]

    BaseSubmititLauncher.launch = launch_or_say_why
    Job.results = results_or_loss  # type: ignore[assignment, method-assign]  # that is the repair
    if not slurm_keeps_accounts():
        SlurmJob.watcher = queue_watcher()


def write_loss(job: Any) -> None:
    """Write the file of a lost job (a `submitit.Job`), which could not do so itself."""
    submission = job.submission()
    overrides, _, number, *_ = submission.args
    facts = {"job": number, "overrides": overrides, "status": f"lost: {job.state.lower()}, see {job.paths.stderr}"}
    write_text(Path(submission.function.config.hydra.sweep.dir) / f"job_{number}.json", json.dumps(facts, indent=2))


def slurm_keeps_accounts() -> bool:
    """Whether SLURM can say how jobs ended that have left the queue; true where there is no SLURM."""
    try:
        return subprocess.run(["sacct", "--noheader"], capture_output=True, timeout=60).returncode == 0
    except FileNotFoundError:
        return True


def queue_watcher() -> Any:
    """What tells submitit how its jobs are, from `squeue` instead of `sacct`."""
    from submitit.slurm.slurm import SlurmInfoWatcher

    class QueueWatcher(SlurmInfoWatcher):
        """The queue has a job for some minutes after its end; one that is not listed ended before."""

        def _make_command(self) -> list[str] | None:
            listing = ["squeue", "--me", "--states=all", "--array", "--noheader", "--format=%i|%T"]
            return listing if super()._make_command() else None

        def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
            lines = (string if isinstance(string, str) else string.decode()).splitlines()
            states = dict(line.strip().split("|") for line in lines)
            return {job: {"State": states.get(job, "GONE")} for job in self._registered}

    return QueueWatcher(delay_s=60)
