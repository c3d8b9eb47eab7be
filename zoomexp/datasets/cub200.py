"""CUB-200-2011 (Wah et al. 2011): photographs of 200 kinds of birds, each with a box and 15 part locations.

The public layout under `<data_dir>/CUB_200_2011`. Its published subsets of fewer classes serve as well: the classes are
those that have images in the lists. Boxes and parts are taken as they are, in pixels from the image's upper left edge.
"""

from pathlib import Path

import numpy as np

from zoomexp.datasets.archives import fetch
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError

LAYOUT = "CUB_200_2011"
URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
MD5 = "97eceeb196236b17998738112f37df78"
PARTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape",
    "right eye", "right leg", "right wing", "tail", "throat",
)  # fmt: skip


class CUB200(StreamDataModule):
    """The birds with the official split; arguments and batches as in `StreamDataModule`, with `box` and `parts`."""

    name = "cub200"

    def read(self) -> FileSplits:
        """Return the official splits; the archive (1.1 GB) is downloaded where the layout is not there."""
        root = self.data_dir / LAYOUT
        if not root.is_dir():
            fetch(self.name, URL, MD5, self.data_dir, LAYOUT)
        return read_layout(root)


def read_layout(root: Path) -> FileSplits:
    """Read the lists under `root`.

    Raises:
        InputError: a list is missing or damaged, or the lists do not belong together.
    """
    images = read_list(root / "images.txt", 2)
    ids, paths = images[:, 0], images[:, 1]
    if len(np.unique(ids)) != len(ids):
        raise damaged(root / "images.txt", "an image stands in it twice")
    training = numbers(root / "train_test_split.txt", ids, 1)[:, 0]
    if set(training) != {0, 1}:
        raise damaged(root / "train_test_split.txt", "it must say 1 (train) or 0 (test), and have both")
    labels, classes = read_labels(root, ids, paths)
    boxes = numbers(root / "bounding_boxes.txt", ids, 4).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]  # x, y, width, height -> x0, y0, x1, y1
    parts = read_parts(root / "parts" / "part_locs.txt", ids)
    everything = ImageFiles(root / "images", np.char.encode(paths), labels, boxes, parts)
    train, test = (everything.take(np.flatnonzero(training == which)) for which in (1, 0))
    train, test = (ImageFiles(p.root, p.paths, p.labels, p.boxes, p.parts) for p in (train, test))  # index from 0
    if missing := set(labels) - set(train.labels):
        raise damaged(root / "train_test_split.txt", f"class {classes[min(missing)]} has no training image")
    return FileSplits(train, None, test, classes)


def read_labels(root: Path, ids: np.ndarray, paths: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels (N,), 0..K-1, and the names of the K classes that have images.

    Raises:
        InputError: a class without a name, or an image that is not in its class's folder.
    """
    numbered = numbers(root / "image_class_labels.txt", ids, 1)[:, 0].astype(np.int64)
    names = {int(number): str(name) for number, name in read_list(root / "classes.txt", 2) if number.isdecimal()}
    present, labels = np.unique(numbered, return_inverse=True)
    if unnamed := [number for number in present.tolist() if number not in names]:
        raise damaged(root / "classes.txt", f"class {unnamed[0]} of image_class_labels.txt is not in it")
    classes = tuple(names[number] for number in present.tolist())
    for path, label in zip(paths, labels, strict=True):
        if Path(path).parts[:-1] != (classes[label],):
            raise damaged(root / "image_class_labels.txt", f"{path} is said to be of class {classes[label]}")
    return labels.astype(np.int64), classes


def read_parts(path: Path, ids: np.ndarray) -> np.ndarray:
    """Return the part locations (N, 15, 3), float32: x, y, visible.

    Raises:
        InputError: not 15 parts of each of the images `ids` (N,).
    """
    lines = read_list(path, 5)
    keys = np.array([f"{image} {part}" for image in ids for part in range(1, len(PARTS) + 1)])
    found = np.array([f"{image} {part}" for image, part in lines[:, :2]])
    return matched(path, keys, found, lines[:, 2:]).reshape(len(ids), len(PARTS), 3).astype(np.float32)


def numbers(path: Path, ids: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` numbers a line that `path` has for each of the images `ids` (N,): (N, count) float64."""
    lines = read_list(path, 1 + count)
    return matched(path, ids, lines[:, 0], lines[:, 1:])


def matched(path: Path, keys: np.ndarray, found: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the rows of `values`, as float64, in the order of `keys` (N,); `found` holds the key of each row.

    Raises:
        InputError: not exactly one row a key, or a value that is no finite number.
    """
    order, wanted = np.argsort(found), np.argsort(keys)
    if not np.array_equal(found[order], keys[wanted]):
        raise damaged(
            path, f"it has {len(found)} lines, and images.txt asks for {len(keys)}, one for each of its images"
        )
    try:
        result = np.empty(values.shape)
        result[wanted] = values[order].astype(np.float64)
    except ValueError as error:
        raise damaged(path, "not all of its values are numbers") from error
    if not np.isfinite(result).all():
        raise damaged(path, "not all of its values are finite")
    return result


def read_list(path: Path, columns: int) -> np.ndarray:
    """Return the words of a text file, (lines, columns) str.

    Raises:
        InputError: it cannot be read, is empty, or a line has another number of words.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise damaged(path, "it cannot be read") from error
    for number, line in enumerate(lines, start=1):
        if len(line) != columns:
            raise damaged(path, f"line {number} has {len(line)} words, not {columns}")
    if not lines:
        raise damaged(path, "it is empty")
    return np.array(lines)


def damaged(path: Path, reason: str) -> InputError:
    """Return the error for a list of the layout that cannot be right."""
    return InputError(f"{path} is missing or damaged: {reason}; unpack {URL} again")
