"""Data sets with a public home: from the array cache, else from their public layout on disk, else by download."""

import contextlib
import http.client
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from zoomexp.datasets.arrays import Splits, load_cache, save_cache
from zoomexp.errors import InputError

TIMEOUT = 20  # seconds without an answer before a download counts as impossible


def read_public(
    name: str,
    data_dir: Path,
    *,
    layout: str,
    home: str,
    read: Callable[[Path], Splits],
    download: Callable[[Path], object],
) -> Splits:
    """Return the data set `name`, and leave an array cache under `data_dir` for the next time.

    Args:
        name: stem of the cache file.
        data_dir: folder of the data sets; it need not exist, or be writable where the data are in it.
        layout: the folder under `data_dir` that the public archive unpacks to.
        home: where the public gets the data, for the error message.
        read: reads the layout under a given folder.
        download: puts the layout, verified by checksum, into a given folder.

    Raises:
        InputError: the data are damaged, or are not there and cannot be downloaded; nothing is left half-written.
    """
    cache = data_dir / f"{name}.npz"
    if cache.exists():
        return load_cache(cache)
    if (data_dir / layout).is_dir():
        splits = read(data_dir)
        with contextlib.suppress(OSError):  # a read-only folder serves as well, only slower
            save_cache(cache, splits)
        return splits
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        try:
            _check_writable(data_dir)
            with impatient():
                download(Path(folder))
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            where = f"dataset={name}: not found under data_dir={data_dir}; put {name}.npz or {layout} there ({home})"
            raise InputError(f"{where}; the download failed: {told_download(error)}") from error
        splits = read(Path(folder))
    save_cache(cache, splits)
    return splits


def told_download(error: BaseException) -> str:
    """Why a download failed, on one line: the reason beneath what the libraries wrap it in.

    >>> told_download(OSError("[Errno -2] Name or service not known"))
    '[Errno -2] Name or service not known'
    """
    reason = getattr(error, "reason", None)  # of urllib's
    return " ".join(str(reason or error).split()) or type(error).__name__


def _check_writable(folder: Path) -> None:
    """Fail before a long download rather than after it.

    Raises:
        PermissionError: `folder` cannot be created or written.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise PermissionError(f"{existing} cannot be written")


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Give up on a silent network after TIMEOUT seconds; torchvision's downloads have no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
