"""Before a run on annotated scenes: annotations that go with their files, and with one another."""

import os
from pathlib import Path

import numpy as np

from zoomexp.datasets.coco_annotations import Annotated
from zoomexp.datasets.picture import open_image, open_picture, orientation
from zoomexp.datasets.scene_files import SceneFiles, check_size
from zoomexp.errors import InputError

LOOKED_AT = 100  # files whose size is read before a run; the others' when they are first seen


def check_categories(one: tuple[Path, Annotated], two: tuple[Path, Annotated]) -> None:
    """Refuse two annotation files with other categories.

    Raises:
        InputError: names both files and the first category that differs.
    """
    (first, second), (path, other) = (found.classes.tolist() for _, found in (one, two)), (one[0], two[0])
    for label in range(max(len(first), len(second))):
        names = [classes[label] if label < len(classes) else "" for classes in (first, second)]
        if names[0] != names[1]:
            told = " and ".join(repr(name) if name else "not there" for name in names)
            raise InputError(f"{path} and {other.name} differ in category {label}: {told}")


def check_files(files: SceneFiles) -> None:
    """Refuse annotations of images that are not there, such as those of another split.

    Raises:
        InputError: says how many, and the first.
    """
    names = [os.path.split(name) for name in files.annotated.names.tolist()]
    there = {(below, name) for below in {below for below, _ in names} for name in _names(files.folder, below)}
    missing = [os.path.join(*name) for name in names if name not in there]  # noqa: PTH118
    if missing:
        named, count = missing[0].decode(errors="backslashreplace"), f"{len(missing):,} of {len(names):,}"
        raise InputError(
            f"{files.folder}: {count} annotated images are not there, {named} the first; "
            "are the annotations another split's?"
        )


def check_sizes(files: SceneFiles) -> None:
    """Look at the sizes of some files, spread evenly over all.

    Raises:
        InputError: one that is not what its annotations say, or that is no image; names file and id.
    """
    for place in np.unique(np.linspace(0, len(files) - 1, min(LOOKED_AT, len(files))).round()).astype(int).tolist():
        with open_image(files.path(place)) as image:  # not decoded
            size = image.size[::-1] if orientation(image) >= 5 else image.size
        if size != files.size(place):
            with open_picture(files.path(place)) as picture:  # some say only at their end which way is up
                check_size(files, place, picture)


def _names(folder: Path, below: bytes) -> list[bytes]:
    """The names in a folder below another; none where there is no such folder."""
    try:
        return [entry.name for entry in os.scandir(os.path.join(os.fsencode(folder), below))]  # noqa: PTH118
    except OSError:
        return []
