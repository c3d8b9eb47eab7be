"""Images that stand in two splits: what was trained on is then tested on."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.parts import Parts
from zoomexp.errors import InputError

MOST = 20_000  # images of a set in which copies are looked for; of a larger one too many have the same size
TAIL = 4096  # bytes
ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class Copy:
    """An image, by its split and position, that is also in a later split, `of` the name it has there."""

    split: str
    position: int
    of: str


def without_copies(parts: Parts, on_duplicate: str) -> tuple[Parts, dict[str, str]]:
    """Look for images whose files are the same in two splits.

    Args:
        parts: the images that train, validate and test.
        on_duplicate: "tell": they stay, and a note says so; "drop": the copies in train, and in val of a test image,
            are left out; "fail". Of more than MOST images none is looked for, and the last two say so in a note.

    Returns:
        The parts, and the files that were left out, by name, with the reason.

    Raises:
        InputError: there are some, and they are to fail; or a class has no training image left.
    """
    every = {"train": parts.train, "val": None if parts.val is parts.test else parts.val, "test": parts.test}
    named = {split: files for split, files in every.items() if files is not None}
    if sum(map(len, named.values())) > MOST:
        unknown = f"dataset.on_duplicate={on_duplicate}: no image is looked for in two splits of more than {MOST:,}"
        return (parts if on_duplicate == "tell" else replace(parts, notes=(*parts.notes, unknown))), {}
    copies = copies_in(named)
    if not copies:
        return parts, {}
    first = copies[0]
    said = f"{len(copies):,} images stand in two splits, for example {label(named, first)} = {first.of}"
    if on_duplicate == "fail":
        raise InputError(f"dataset.on_duplicate=fail: {said}; remove them, or dataset.on_duplicate=drop")
    if on_duplicate == "tell":
        return replace(parts, notes=(*parts.notes, f"{said} (dataset.on_duplicate=drop leaves them out)")), {}
    return _dropped(parts, named, copies)


def copies_in(named: Mapping[str, ImageFiles]) -> list[Copy]:
    """Return the images that are in a later split, too, in the order of the splits; files are compared by content."""
    by_size = defaultdict(list)
    for split in ORDER:
        for position in range(len(named.get(split, ()))):
            by_size[named[split].path(position).stat().st_size].append((split, position))
    copies = []
    for same_size in by_size.values():
        if len({split for split, _ in same_size}) > 1:
            copies += _same_content(named, same_size)
    return sorted(copies, key=lambda copy: (ORDER.index(copy.split), copy.position))


def _same_content(named: Mapping[str, ImageFiles], images: list[tuple[str, int]]) -> list[Copy]:
    groups, copies = defaultdict(list), []
    for split, position in images:
        groups[end_of(named[split].path(position))].append((split, position))
    alike = [same for same in groups.values() if len({split for split, _ in same}) > 1]
    groups = defaultdict(list)
    for split, position in (image for same in alike for image in same):
        content = named[split].path(position).read_bytes()
        groups[hashlib.blake2b(content).digest()].append((split, position))
    for same in groups.values():
        split, position = max(same, key=lambda image: ORDER.index(image[0]))
        of = label(named, Copy(split, position, ""))
        copies += [Copy(*image, of) for image in same if image[0] != split]
    return copies


def end_of(path: Path) -> bytes:
    """Return the last bytes of a file, which few files have in common: files of pixels all have the same size."""
    with path.open("rb") as file:
        file.seek(-min(TAIL, path.stat().st_size), os.SEEK_END)
        return file.read()


def label(named: Mapping[str, ImageFiles], image: Copy) -> str:
    """Return an image's name with its folder."""
    files = named[image.split]
    return os.path.join(files.root.name, files.name(image.position))  # noqa: PTH118


def _dropped(parts: Parts, named: Mapping[str, ImageFiles], copies: list[Copy]) -> tuple[Parts, dict[str, str]]:
    kept: dict[str, Any] = {}
    passed_over = {label(named, copy): "also in a later split" for copy in copies}
    for split in {copy.split for copy in copies}:
        gone, files = [copy.position for copy in copies if copy.split == split], named[split]
        kept[split] = files.take(np.setdiff1d(np.arange(len(files)), gone))
        if lost := sorted(set(files.labels.tolist()) - set(kept[split].labels.tolist())):
            raise InputError(
                f"dataset.on_duplicate=drop: all {split} images of class number {lost[0]} are in a later split, too"
            )
    return replace(parts, **kept), passed_over
