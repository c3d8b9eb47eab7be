"""Labelled images that stay on disk: where they lie, what is known of them, and one of them read."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from zoomexp.errors import InputError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
CHECKED = 10_000  # of a larger set, between this many and twice as many images are looked at before training


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files with their labels; `hold_out` and `shortened` take these as they take arrays.

    Attributes:
        root: the folder that `paths` start from.
        paths: (N,) bytes, as `os.fsencode` makes them: a million names as Python strings fork and pickle badly.
        labels: (N,) int64, class indices from 0.
        boxes: (N, 4) float32, the object's x0, y0, x1, y1 in pixel edges of the file's image; None where unknown.
        parts: (N, P, 3) float32, each part's x, y in the same pixels, and 1 where it is visible; None where unknown.
        index: (N,) int64, each image's position in the split it was taken from; by default 0..N-1.
    """

    root: Path
    paths: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray | None = None
    parts: np.ndarray | None = None
    index: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.index is None:
            object.__setattr__(self, "index", np.arange(len(self.labels)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: np.ndarray) -> "ImageFiles":
        """Return the images at positions `chosen` (M,), which keep their `index`."""
        boxes, parts = (None if known is None else known[chosen] for known in (self.boxes, self.parts))
        return ImageFiles(self.root, self.paths[chosen], self.labels[chosen], boxes, parts, self.index[chosen])

    def fingerprint(self) -> str:
        """Return 12 hex digits of the files' names, in their order, and their labels; their pixels are not read."""
        digest = hashlib.sha256(b"\0".join(self.paths.tolist()))
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()[:12]

    def path(self, position: int) -> Path:
        """Return where the image at `position` lies."""
        return self.root / os.fsdecode(self.paths[position])


@dataclass(frozen=True, eq=False)
class FileSplits:
    """A data set: its images, `val` only where it comes with a validation split, and its classes in label order."""

    train: ImageFiles
    val: ImageFiles | None
    test: ImageFiles
    classes: tuple[str, ...]


def open_image(path: Path) -> Image.Image:
    """Open an image without decoding it yet.

    Raises:
        InputError: there is no such file, or it is no image; the message names it.
    """
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: the data set is not whole; unpack it again") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(path) from error


def rgb(image: Image.Image, path: Path) -> Image.Image:
    """Decode an opened image of any kind to 8-bit RGB; grey becomes three equal channels.

    Raises:
        InputError: it is damaged, or has more than 8 bits a channel.
    """
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{path} has more than 8 bits a channel ({image.mode}); convert it to 8 bits")
    try:
        return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise unreadable(path) from error


def unreadable(path: Path) -> InputError:
    """Return the error for a file that is damaged or no image."""
    return InputError(f"{path} cannot be read as an image: it is damaged or cut short; put a sound copy in its place")


def check_images(files: ImageFiles) -> None:
    """Look at every image's first bytes, or of a large set at evenly spread ones, before hours are spent on them.

    Raises:
        InputError: one is missing or no image.
    """
    for position in range(0, len(files), max(1, len(files) // CHECKED)):
        open_image(files.path(position)).close()
