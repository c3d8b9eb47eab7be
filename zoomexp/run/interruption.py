"""A run that is told to stop: it stops in good order, and under SLURM its job goes back into the queue.

Schedulers send SIGTERM some time before they kill: a job with a higher priority comes, the node is drained, somebody
types `kill PID`. The run then ends at once, but not in the middle of a file: its record says `interrupted: SIGTERM`,
what it logs is closed, and its last checkpoint, of the last finished epoch, stays. The next start goes on from there
and ends with the numbers of a run that was left alone; that is why no checkpoint is made in the middle of an epoch.

SIGUSR1 does the same: `sbatch --signal=USR1@120` sends it two minutes before the time limit. (Lightning would answer it
with a checkpoint in the middle of the epoch.) SIGUSR2 is left to submitit, which has its own requeueing. Ctrl-C
(SIGINT) does the same, but puts no job back into the queue.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from zoomexp.processes import first_process

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(SystemExit):
    """A signal ended the run. `code` is 128 + the signal's number, as shells have it: 143 for SIGTERM, 130 for Ctrl-C.

    `place` says where the same command goes on.
    """

    code: int
    place = "after the last finished epoch"

    def __str__(self) -> str:
        return signal.Signals(self.code - 128).name


@contextlib.contextmanager
def stopping_in_order() -> Iterator[None]:
    """Let `SIGNALS` end what is done inside by `Interrupted`, and say what comes next.

    Only the main thread can receive signals: in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Stop()
    try:
        yield
    except Interrupted as interrupted:
        if first_process():
            by_hand = interrupted.code == 128 + signal.SIGINT
            what = comes_again(interrupted.place) if by_hand else what_comes_next(interrupted.place)
            sys.stderr.write(f"stopped by {'Ctrl-C' if by_hand else interrupted}: {what}\n")
            sys.stderr.flush()
        raise
    finally:
        handler.take_away()


class _Stop:
    """Signal handler: the first signal raises; those that follow do not disturb the cleaning up."""

    def __init__(self) -> None:
        self.stopping, self.process = False, os.getpid()
        self.before = {number: signal.signal(number, self) for number in SIGNALS}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and os.getpid() != self.process:
            return  # a terminal tells Ctrl-C to the data loader's workers, too, and the run ends them
        if not self.stopping:
            self.stopping = True
            # Data loader workers were told too; torch would raise in the middle of the cleaning up that they are dead.
            self.before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self)
            raise Interrupted(128 + number)

    def take_away(self) -> None:
        """Put the former handlers back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)


def comes_again(place: str) -> str:
    """What to do for the run to go on at `place`."""
    return f"give the command again, and it goes on {place}"


def what_comes_next(place: str) -> str:
    """Requeue this job where SLURM runs it; returns what the user should know: where the run goes on, at `place`."""
    job = slurm_job()
    if job is None:
        return comes_again(place)
    refusal = requeue(job)
    if refusal:
        return f"SLURM job {job} is not requeued ({refusal}); submitted again, it goes on {place}"
    return f"SLURM job {job} is requeued and goes on {place}"


def slurm_job() -> str | None:
    """The SLURM job this process belongs to, as SLURM's commands take it; None outside SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def requeue(job: str) -> str:
    """Put a running SLURM job back into the queue; returns why not, or an empty text.

    A job that stops within its grace counts as ended, and SLURM would not run it again by itself. One that SLURM no
    longer counts as running was cancelled or is out of time: then the signal meant what it said.
    """
    try:
        state = _ask("squeue", "--noheader", "--format=%T", f"--jobs={job}")
        if state != "RUNNING":
            return f"it is {state.lower() or 'gone'}"
        _ask("scontrol", "requeue", job)
    except subprocess.CalledProcessError as error:
        return " ".join(error.stderr.split())
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def restarted() -> bool:
    """Whether SLURM runs this job again: after a requeue, by it or by us."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0
