"""Files that are there as a whole or not at all, whatever ends the process or fills the disk meanwhile."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from zoomexp.errors import InputError

FULL = {errno.ENOSPC, errno.EDQUOT}  # the disk, or the user's share of it


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield `<path>.partial` to be written; it takes the place of `path` in one step, or is removed.

    What was written is on the disk before the name changes, so that a power cut leaves the old file or the new one.

    Raises:
        OSError: it cannot be written, for example because the disk is full; the error then names `path`.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
            error.filename = str(path)  # a failed write does not say of which file
        raise


@contextlib.contextmanager
def writing(option: str, place: Path) -> Iterator[None]:
    """Say in one line that what an option names cannot be written.

    Raises:
        InputError: in the place of an OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{option}: cannot write {place} ({error.strerror or error}); name a writable place"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    with atomic_file(path) as partial:
        partial.write_text(text)
