"""Anyone's images, one folder a class: `<data_dir>/<folder>/train/<class>/*.jpg`, the same for `test`, perhaps `val`.

All usual image formats, any size; grey images become colour.
"""

import os
from pathlib import Path

import numpy as np

from zoomexp.datasets.image_files import SUFFIXES, FileSplits, ImageFiles
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError


class ImageFolder(StreamDataModule):
    """Images in class folders; without a `val` folder the validation split is held out of `train`.

    Args:
        folder: what holds the split folders, below `data_dir` (or a whole path).
        **common: as in `StreamDataModule`.

    Raises:
        InputError: a value of the wrong kind or out of its range.
    """

    name = "image_folder"
    split_folders = ("train", "val", "test")  # the second may be missing
    hint = "make folders train/<class>/ and test/<class>/ with images in them"

    def __init__(self, *, folder: str = "images", **common) -> None:
        super().__init__(**common)
        if not isinstance(folder, str):
            raise InputError(f"dataset.folder={folder} must be a folder, below data_dir or a whole path")
        self.folder = folder

    def read(self) -> FileSplits:
        """Return the images of the split folders."""
        root = self.data_dir / Path(self.folder).expanduser()
        train, val, test = self.split_folders
        found = {split: self._scan(root / split) for split in (train, test)}
        if val is not None and (root / val).is_dir():
            found[val] = self._scan(root / val)
        classes = tuple(found[train])
        for split, images in found.items():
            if differing := sorted(set(classes) ^ set(images)):
                have, lack = (train, split) if differing[0] in classes else (split, train)
                names = f"class {differing[0]!r} is in {have} and not in {lack}"
                raise InputError(f"dataset={self.name}: {root}: {names}; every split must have the same class folders")
        parts = {split: as_files(root / split, images) for split, images in found.items()}
        return FileSplits(parts[train], parts.get(val), parts[test], classes)

    def _scan(self, split: Path) -> dict[str, list[bytes]]:
        """Return the paths of the images of each class, both sorted, from the folder `split`."""
        where = f"dataset={self.name}: {split}"
        try:
            folders = sorted(e.name for e in os.scandir(split) if e.is_dir() and not e.name.startswith("."))
            images = {name: image_names(split / name) for name in folders}
        except OSError as error:
            raise InputError(f"{where} is not there or cannot be read; {self.hint}") from error
        if not folders:
            raise InputError(f"{where} has no class folders; {self.hint}")
        if empty := [name for name in folders if not images[name]]:
            raise InputError(f"{where}/{empty[0]} has no images; {self.hint}")
        return {name: [os.fsencode(f"{name}/{file}") for file in images[name]] for name in folders}


def image_names(folder: Path) -> list[str]:
    """Return the names of the image files in `folder`, sorted; other and hidden files are passed over."""
    names = (entry.name for entry in os.scandir(folder) if entry.is_file())
    return sorted(name for name in names if name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES)  # noqa: PTH122


def as_files(root: Path, images: dict[str, list[bytes]]) -> ImageFiles:
    """Return the images of all classes, numbered in the dictionary's order."""
    labels = np.repeat(np.arange(len(images)), [len(paths) for paths in images.values()])
    return ImageFiles(root, np.array([path for paths in images.values() for path in paths]), labels)
