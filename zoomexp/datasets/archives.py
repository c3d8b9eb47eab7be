"""Public archives: downloaded, compared with their checksum, and unpacked where they cannot harm."""

import contextlib
import http.client
import tarfile
import tempfile
import zipfile
from pathlib import Path

from zoomexp.datasets.public import impatient, told_download
from zoomexp.errors import InputError


def download_archive(url: str, md5: str, folder: Path) -> None:
    """Download the archive at `url`, check it, and unpack it into `folder`; the archive itself is not kept.

    Raises:
        OSError, RuntimeError, http.client.HTTPException: it cannot be had, or has another checksum.
        InputError: it cannot be unpacked, or would write outside `folder`.
    """
    from torchvision.datasets.utils import download_url

    name = url.rpartition("/")[2]
    download_url(url, folder, name, md5)
    unpack(folder / name, folder)
    (folder / name).unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tgz archive into `folder`.

    Raises:
        InputError: it is damaged, or a member's path leads outside `folder`.
    """
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as file:
                for name in file.namelist():
                    if not (folder / name).resolve().is_relative_to(folder.resolve()):
                        raise zipfile.BadZipFile(f"{name} leads outside")
                file.extractall(folder)
        else:
            with tarfile.open(archive) as file:
                file.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{archive.name} cannot be unpacked: {error}") from error


def fetch(name: str, url: str, md5: str, data_dir: Path, layout: str) -> None:
    """Bring the data set `name` to `data_dir`/`layout` in one step: the whole folder appears, or nothing.

    Args:
        name: of the data set, for the error message.
        url: of the archive.
        md5: its checksum.
        data_dir: folder of the data sets; it need not exist.
        layout: the folder that the archive unpacks to.

    Raises:
        InputError: it cannot be downloaded or written; nothing is left behind.
    """
    made = not data_dir.exists()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{name}-") as folder, impatient():
            download_archive(url, md5, Path(folder))
            (Path(folder) / layout).rename(data_dir / layout)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        if made:
            with contextlib.suppress(OSError):
                data_dir.rmdir()
        where = f"dataset={name}: not found under data_dir={data_dir}; put {layout} there ({url})"
        raise InputError(f"{where}; the download from there failed: {told_download(error)}") from error
