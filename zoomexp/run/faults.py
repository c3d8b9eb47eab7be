"""What the machine does to a run, in one line that says how to go on (docs/reliability.md lists it all)."""

from pathlib import Path

from zoomexp.atomic_file import FULL
from zoomexp.errors import FaultError

AGAIN = "the same command goes on from the last finished epoch"


def as_fault(error: BaseException, folder: Path) -> FaultError | None:
    """The fault behind an error that ended the run in `folder`; None if it is of another kind."""
    from zoomexp.run.out_of_memory import out_of_memory  # imports torch, which only a run needs

    if isinstance(error, OSError) and error.errno in FULL:
        return FaultError(f"no space left on device: {error.filename or folder}; make room, then {AGAIN}")
    if out_of_memory(error):
        return FaultError(f"out of memory; choose a smaller dataset.batch_size or free some, then {AGAIN}")
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):  # torch has no type for it
        reason = "a process that reads images was killed or crashed; choose fewer dataset.num_workers if memory ran out"
        return FaultError(f"{reason}, then {AGAIN}")
    return None
