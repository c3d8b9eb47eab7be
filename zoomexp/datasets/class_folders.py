"""What lies in class folders: the images of each class, and every other file with the reason why it is passed over."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.picture import suffixes
from zoomexp.errors import InputError

LEFT_BY_SYSTEMS = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "@eaDir"})


@dataclass(frozen=True)
class ClassFolders:
    """What a folder of class folders holds.

    Attributes:
        root: the folder.
        images: paths below `root` of the images of each class, both sorted.
        passed_over: why each other file is not used, by its path below the parent of `root`.
    """

    root: Path
    images: dict[str, list[bytes]] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)

    def files(self, classes: list[str]) -> ImageFiles:
        """Return the images, numbered in the order of `classes`, which are all of its own or more."""
        counts = [len(self.images.get(name, ())) for name in classes]
        paths = [path for name in classes for path in self.images.get(name, ())]
        return ImageFiles(self.root, np.array(paths), np.repeat(np.arange(len(classes)), counts))


def read_class_folders(root: Path) -> ClassFolders:
    """Look at all folders below `root`; what is in folders of a class folder belongs to the class.

    Raises:
        InputError: a folder cannot be read.
    """
    found = ClassFolders(root)
    for entry in entries(root):
        if entry.is_dir() and not hidden(entry.name):
            found.images[entry.name] = sorted(_images(root, entry.name, found.passed_over, {identity(entry.path)}))
        else:
            found.passed_over[f"{root.name}/{readable(entry.name)}"] = why_not(entry) or "image outside class folders"
    return found


def _images(root: Path, folder: str, passed_over: dict[str, str], above: set[tuple[int, int]]) -> Iterator[bytes]:
    """Yield the paths below `root` of the images in its `folder` and the folders there; note what is passed over.

    `above` holds the folders on the way there: a link to one of them would lead in a circle.
    """
    for entry in entries(root / folder):
        path, why = f"{folder}/{entry.name}", None
        if entry.is_dir() and not hidden(entry.name):
            if (own := identity(entry.path)) not in above:
                yield from _images(root, path, passed_over, above | {own})
                continue
            why = "link to a folder around it"
        if why := why or why_not(entry):
            passed_over[f"{root.name}/{readable(path)}"] = why
        else:
            yield os.fsencode(path)


def why_not(entry: os.DirEntry[str]) -> str | None:
    """Return why something in a folder is no image, as far as its name and kind tell; None if it is one."""
    if why := hidden(entry.name):
        return why
    if not entry.is_file():
        return "dangling link" if entry.is_symlink() else "no regular file"
    ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122  a Path for each of a million names takes seconds
    return None if ending in suffixes() else f"no image by its name ({ending or 'no ending'})"


def hidden(name: str) -> str | None:
    """Return why a name is passed over whatever it is of; None if it is not."""
    if name.startswith("."):
        return "hidden"
    return "left by the operating system" if name in LEFT_BY_SYSTEMS else None


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted by name.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder} is not there or cannot be read ({error.strerror})") from error


def identity(folder: str) -> tuple[int, int]:
    """Return what tells a folder from others, however links name it."""
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def readable(name: str) -> str:
    """Return a name as text that can be printed; bytes that are no text are escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")
