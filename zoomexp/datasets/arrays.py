"""Labelled images as plain arrays, and the file they are cached in.

The array cache `<data_dir>/<name>.npz` holds five arrays: train_images (N, S, S, 3 or 1) uint8, train_labels (N,)
int64, test_images, test_labels, and classes (K,) str.
"""

import hashlib
import os
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.errors import InputError

KEYS = ("train_images", "train_labels", "test_images", "test_labels", "classes")


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images with their labels.

    Attributes:
        images: (N, H, W, C) uint8; C is 1 or 3.
        labels: (N,) int64, class indices from 0.
        boxes: (N, 4) float32, the object's x0, y0, x1, y1 in pixel edges, 0..W and 0..H; None where unknown.
        index: (N,) int64, each image's position in the split it was taken from; by default 0..N-1.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray | None = None
    index: np.ndarray = None  # type: ignore[assignment]  # see __post_init__

    def __post_init__(self) -> None:
        if self.index is None:
            object.__setattr__(self, "index", np.arange(len(self.labels)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: np.ndarray) -> "ImageArrays":
        """Return the images at positions `chosen` (M,), which keep their `index`."""
        boxes = None if self.boxes is None else self.boxes[chosen]
        return ImageArrays(self.images[chosen], self.labels[chosen], boxes, self.index[chosen])

    def fingerprint(self) -> str:
        """Return 12 hex digits of the images, in their order, and their labels."""
        digest = hashlib.sha256(repr((self.images.shape, len(self.labels))).encode())
        for values in (self.images, self.labels):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()[:12]

    def padded(self, pad: int) -> "ImageArrays":
        """Return the images with `pad` black pixels on every side; boxes move along."""
        if pad == 0:
            return self
        images = np.pad(self.images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        return ImageArrays(images, self.labels, None if self.boxes is None else self.boxes + pad, self.index)


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set: `train` and `test` images, the names of its classes, in label order, and its own `val`, if any."""

    train: ImageArrays
    test: ImageArrays
    classes: tuple[str, ...]
    val: ImageArrays | None = None


def save_cache(path: Path, splits: Splits) -> None:
    """Write the array cache in one step: a reader sees the whole file or none.

    Raises:
        OSError: `path` cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".partial")
    train, test = splits.train, splits.test
    values = (train.images, train.labels, test.images, test.labels, np.array(splits.classes))
    try:
        with os.fdopen(handle, "wb") as file:
            arrays: dict[str, Any] = dict(zip(KEYS, values, strict=True))
            np.savez(file, **arrays)
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def load_cache(path: Path) -> Splits:
    """Read the array cache at `path`, never unpickling anything.

    Raises:
        InputError: the file is unreadable, truncated, or not as the module docstring says.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = {key: stored[key] for key in KEYS}
    except KeyError as error:
        raise _damaged(path, str(error.args[0])) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError, AttributeError) as error:
        raise _damaged(path, "it cannot be read as .npz arrays") from error
    return checked(path, *(found[key] for key in KEYS))


def checked(
    path: Path,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    classes: np.ndarray,
) -> Splits:
    """Make `Splits` of the five arrays of a cache, whatever `path` they came from.

    Raises:
        InputError: a wrong type or shape, or a label without a class; the message names `path`.
    """
    if classes.ndim != 1 or classes.dtype.kind != "U" or len(classes) == 0:
        raise _damaged(path, f"classes is {classes.dtype} {classes.shape}, not (K,) str")
    train = checked_part(path, "train", train_images, train_labels, len(classes))
    test = checked_part(path, "test", test_images, test_labels, len(classes))
    if train_images.shape[1:] != test_images.shape[1:]:
        raise _damaged(path, f"train_images are {train_images.shape[1:]} and test_images {test_images.shape[1:]}")
    return Splits(train, test, tuple(str(name) for name in classes))


def checked_part(path: Path, name: str, images: np.ndarray, labels: np.ndarray, classes: int) -> ImageArrays:
    """Make `ImageArrays` of one split that was read from `path`, where it is called `name`.

    Raises:
        InputError: a wrong type or shape, or a label outside 0..`classes` - 1; the message names `path` and split.
    """
    if problem := _problem(images, labels, classes):
        raise _damaged(path, f"{name}_{problem}")
    return ImageArrays(images, labels.astype(np.int64))


def _problem(images: np.ndarray, labels: np.ndarray, classes: int) -> str | None:
    """What is wrong with one split, starting with "images" or "labels"; None if nothing is."""
    shape = images.shape
    if images.dtype != np.uint8:
        return f"images is {images.dtype}, not uint8"
    if len(shape) != 4 or shape[0] == 0 or shape[1] == 0 or shape[1] != shape[2] or shape[3] not in (1, 3):
        return f"images is {shape}, not (N, S, S, 3 or 1)"
    if labels.dtype.kind not in "iu" or labels.shape != shape[:1]:
        return f"labels is {labels.dtype} {labels.shape}, not ({shape[0]},) int64"
    if labels.min() < 0 or labels.max() >= classes:
        return f"labels runs from {labels.min()} to {labels.max()}, outside 0..{classes - 1}"
    return None


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged: {reason}; delete it, or put a sound copy in its place")
