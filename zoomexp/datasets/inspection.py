"""A look at the images before hours are spent on them: what cannot be read is refused, or left out and named."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.picture import BadImageError, check_values, open_image, open_picture
from zoomexp.errors import InputError
from zoomexp.relevance.extraction import told

CHECKED = 10_000  # of a larger set, between this many and twice as many images are looked at
DECODED = 64 * 2**20  # bytes; the images of a smaller set are decoded at once, which takes a few seconds
ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}  # of a file that is whole
NARROW = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp"}  # never have more than 16 bits a channel


def inspected(splits: FileSplits, on_bad_image: str) -> FileSplits:
    """Look at the images of all splits.

    Of each the first bytes are read, and its end where its format has one; of a small set, and wherever bad images are
    to be skipped, all of it is decoded. Of a split of 20,000 images and more evenly spread ones are looked at, and all
    whose format may have values of no known range.

    Args:
        splits: what was found.
        on_bad_image: "fail"; or "skip": bad ones are left out, and stand in `passed_over`.

    Raises:
        InputError: an image cannot be read; or the set's, or a class's last training image had to be left out.
    """
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    skips = on_bad_image == "skip"
    whole = skips or sum(map(size_on_disk, filter(None, parts.values()))) <= DECODED
    passed_over = dict(splits.passed_over)
    for name, files in parts.items():
        if files is None or not len(files):
            continue
        positions = np.arange(len(files)) if skips else looked_at(files)
        bad = flaws(files, positions, whole, skips)
        if bad:
            passed_over |= {f"{files.root.name}/{files.name(i)}": error.why for i, error in bad.items()}
            parts[name] = left = files.take(np.setdiff1d(np.arange(len(files)), list(bad)))
            _check_left(name, left, files, splits.classes, len(bad))
    changed: dict[str, Any] = {**parts, "passed_over": passed_over}
    return replace(splits, **changed)


def looked_at(files: ImageFiles) -> np.ndarray:
    """Return the positions (M,) of the images to look at, ascending."""
    step = max(1, len(files) // CHECKED)
    wide = [] if step == 1 else [i for i in range(len(files)) if Path(files.name(i)).suffix.lower() not in NARROW]
    return np.union1d(np.arange(0, len(files), step), np.array(wide, np.int64))


def flaws(files: ImageFiles, positions: np.ndarray, whole: bool, skips: bool) -> dict[int, BadImageError]:
    """Return what is wrong with the bad ones among the images at `positions` (M,), by position.

    Raises:
        InputError: one is bad, and `skips` is false.
    """
    bad = {}

    def results() -> Iterator[tuple[int, int]]:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            errors = threads.map(partial(flaw, whole=whole), map(files.path, positions.tolist()))
            for done, (position, error) in enumerate(zip(positions.tolist(), errors, strict=True), start=1):
                if error is not None and not skips:
                    threads.shutdown(cancel_futures=True)
                    raise InputError(f"{error}, or leave such files out: dataset.on_bad_image=skip") from error
                if error is not None:
                    bad[position] = error
                yield done, len(positions)

    for line in told(results(), "looking at the images"):
        print(line, flush=True)  # noqa: T201
    return bad


def flaw(path: Path, whole: bool) -> BadImageError | None:
    """Return what is wrong with an image; None if nothing is found. `whole`: decode it, however sound it looks."""
    try:
        with open_image(path) as image:
            check_values(image, path)
            doubtful = whole or not ends_well(path, image.format)
        if doubtful:
            with open_picture(path) as picture:
                picture.try_decoding()
    except BadImageError as error:
        return error
    return None


def ends_well(path: Path, kind: str | None) -> bool:
    """Whether the file's last bytes are those of a whole image of its format; False where the format has no end."""
    end = None if kind is None else ENDS.get(kind)
    if end is None:
        return False
    with path.open("rb") as file:
        file.seek(-min(len(end), path.stat().st_size), os.SEEK_END)
        return file.read() == end


def size_on_disk(files: ImageFiles) -> int:
    """Return the bytes of all images; more than `DECODED` as soon as it is clear."""
    total = 0
    for position in range(len(files)):
        try:
            total += files.path(position).stat().st_size
        except OSError:  # what is missing is named when it is looked at
            continue
        if total > DECODED:
            break
    return total


def _check_left(name: str, left: ImageFiles, files: ImageFiles, classes: tuple[str, ...], bad: int) -> None:
    """Refuse a split without images, or without one of the classes it had."""
    if gone := sorted(set(files.labels.tolist()) - set(left.labels.tolist())):
        one = files.path(int(np.flatnonzero(files.labels == gone[0])[0]))
        raise InputError(
            f"dataset.on_bad_image=skip: class {classes[gone[0]]!r} has no {name} image left, {bad} of the "
            f"split cannot be read, for example {one}"
        )
