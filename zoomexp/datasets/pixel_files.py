"""Files whose every pixel is a class number, laid over the images they are of: read, checked, and seen as these are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.masked import IGNORED
from zoomexp.datasets.picture import open_image
from zoomexp.datasets.views import Steps, joined
from zoomexp.errors import InputError

UNKNOWN = 254  # stands for a value that has no meaning, while a file is read


class PixelClasses:
    """What the values of a set's files mean.

    Args:
        meaning: the class of each value, IGNORED for pixels that count neither way; other values are an error.
    """

    def __init__(self, meaning: Mapping[int, int]) -> None:
        self.meaning = dict(meaning)
        self._table = np.full(256, UNKNOWN, np.uint8)
        self._table[list(meaning)] = list(meaning.values())

    def read(self, path: Path) -> np.ndarray:
        """The class of each pixel of a file, (height, width) uint8.

        Raises:
            InputError: it cannot be read, or has values without a meaning.
        """
        with open_image(path) as image:
            if image.mode not in ("L", "P"):
                raise InputError(f"{path} is of the kind {image.mode}, not one value a pixel (L or P)")
            values = np.asarray(image)
        classes: np.ndarray = self._table[values]
        if (unknown := classes == UNKNOWN).any():
            known = ", ".join(map(str, self.meaning))
            raise InputError(f"{path} has the value {values[unknown][0]}; known: {known}")
        return classes

    def seen(self, path: Path, steps: Steps, side: int, size: tuple[int, int]) -> np.ndarray:
        """The class of each pixel of a view of the image, by the nearest pixel of the file: (side, side) uint8.

        Args:
            path: the file.
            steps: (3, 3) each, from pixel edges of the stored image to those of the view.
            side: of the view, in pixels.
            size: width and height of the image as it is stored; the file's must be the same.

        Returns:
            IGNORED where the view shows nothing of the image.

        Raises:
            InputError: as `read`, and a file of another size.
        """
        classes = self.read(path)
        if classes.shape != size[::-1]:
            told = " x ".join(map(str, classes.shape[::-1]))
            raise InputError(f"{path} has {told} pixels, and its image {size[0]} x {size[1]}")
        back = np.linalg.inv(joined(steps))
        y, x = np.mgrid[:side, :side] + 0.5
        col, row = np.floor(back[:2, :2] @ [x.ravel(), y.ravel()] + back[:2, 2:]).astype(int)
        within = (col >= 0) & (col < size[0]) & (row >= 0) & (row < size[1])
        seen = np.where(within, classes[row.clip(0, size[1] - 1), col.clip(0, size[0] - 1)], np.uint8(IGNORED))
        return seen.reshape(side, side)


def check_files(files: Sequence[ImageFiles], named: str) -> None:
    """Refuse images without such a file, or with one of another size, before anything is trained on them.

    Args:
        files: images of several splits, each with `masks`.
        named: of the data set, for messages.

    Raises:
        InputError: there is one.
    """
    for part in files:
        for position in range(len(part)):
            path, image = part.mask_path(position), part.path(position)
            if path is None or not path.is_file():
                raise InputError(f"dataset={named}: {path or image} is missing, the classes of {image.name}'s pixels")
            if (size := _size(path)) != (wanted := _size(image)) and None not in (size, wanted):
                own, other = (" x ".join(map(str, one)) for one in (size or (), wanted or ()))
                raise InputError(f"dataset={named}: {path} has {own} pixels, and its image {other}")


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height, of the file's first bytes; None where they cannot be read, which is told elsewhere."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError):
        return None
