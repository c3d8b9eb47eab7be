"""An image file as it is to be seen: upright, whatever its EXIF orientation, in 8-bit RGB, on a background.

What Pillow reads is read; of an animation or a file of many pages the first picture. 16 bits a channel are scaled,
0..65535 to 0..255. 32-bit values are refused: nothing says what range they have.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from zoomexp.datasets.pixels import WHITE, on_background, scale_transparency, to_8_bits
from zoomexp.errors import InputError

Window = tuple[float, float, float, float]  # left, top, width, height, in pixels of the upright image

DRAFT = 2.0  # a JPEG is decoded at half, a quarter or an eighth of its size where that is still this much too large
KINDS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
DRAFTED = ("JPEG", "MPO")  # decoded when needed, at the size that is needed; all others when they are opened
SIXTEEN_BIT = ("PNG", "PPM")  # Pillow gives their 16 bits as 32-bit values, 0..65535
# Of Pillow's formats: stubs that cannot be decoded, videos, and PostScript, which would be run as a program.
NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


class BadImageError(InputError):
    """A file that cannot be seen; `why` without its name and without what to do about it."""

    def __init__(self, path: Path, why: str, remedy: str = "put a sound copy in its place") -> None:
        super().__init__(f"{path} {why}; {remedy}")
        self.path, self.why = path, why


class Picture:
    """An opened image.

    Attributes:
        size: its width and height, upright.
        stored_size: its width and height as the file stores it.
        turn: (3, 3), from pixel edges as the file stores them to those of the upright image.
        reduction: after `square`, how many of its pixels a decoded one stands for, along a side: 1, 2, 4 or 8.

    Args:
        image: as Pillow opened it.
        path: its file, for messages.
        background: red, green and blue, 0..255, behind what is transparent.

    Raises:
        BadImageError: it is damaged, or its values have no known range.
    """

    def __init__(self, image: Image.Image, path: Path | str, background: tuple[int, int, int] = WHITE) -> None:
        check_values(image, path)
        self._image, self.path, self.background, self.reduction = image, Path(path), background, 1.0
        if image.format not in DRAFTED:
            with reading(self.path):
                scale_transparency(image)
                image.load()  # some say only at their end which way is up; TIFF turns itself
        self._orientation = orientation(image)
        self.turn = turn_matrix(self._orientation, *image.size)
        self.stored_size = image.size
        self.size = image.size[::-1] if self._orientation >= 5 else image.size

    def rgb(self) -> Image.Image:
        """Return all of it in full size."""
        return self._turned(self._stored(None))

    def square(self, window: Window, side: int, interpolation: str = "bilinear") -> Image.Image:
        """Return a window resized to (side, side), bilinear or bicubic, with anti-aliasing.

        It is cut before it is turned: a reduced size is rounded up at the right and lower edges of what is stored.
        """
        left, top, width, height = window
        corners = np.linalg.inv(self.turn) @ [[left, left + width], [top, top + height], [1, 1]]
        box, full = np.concatenate([corners[:2].min(1), corners[:2].max(1)]), self._image.size
        wanted = [math.ceil(DRAFT * side * f / w) for f, w in zip(full, box[2:] - box[:2], strict=True)]
        image = self._stored(tuple(wanted))
        box = (box / self.reduction).clip(0, [*image.size, *image.size])
        return self._turned(image.resize((side, side), KINDS[interpolation], box=tuple(box.tolist())))

    def try_decoding(self) -> None:
        """Decode it in the quickest way.

        Raises:
            BadImageError: it is damaged.
        """
        self._stored((1, 1))

    def _stored(self, wanted: tuple[int, int] | None) -> Image.Image:
        """Decode it, once, and not turned; a JPEG at the smallest size that is not below `wanted`."""
        with reading(self.path):
            if wanted is not None:
                width, drafted = self._image.size[0], self._image.draft(None, wanted)
                self.reduction = width / drafted[1][2] if drafted else 1.0  # (mode, box of the whole image), or None
            self._image.load()
            return on_background(to_8_bits(self._image), self.background)

    def _turned(self, image: Image.Image) -> Image.Image:
        return image.transpose(TURNS[self._orientation]) if self._orientation > 1 else image


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image without decoding it yet; closed at the end.

    Raises:
        BadImageError: there is no such file, it cannot be read, or it is no image.
    """
    with reading(path):
        image = Image.open(path, formats=formats())
    with image:
        yield image


@contextmanager
def open_picture(path: Path, background: tuple[int, int, int] = WHITE) -> Iterator[Picture]:
    """Open an image as it is to be seen.

    Raises:
        BadImageError: it cannot be.
    """
    with open_image(path) as image:
        yield Picture(image, path, background)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say what is wrong with the file, instead of what went wrong in Pillow, which has many errors for it."""
    try:
        yield
    except (BadImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise BadImageError(path, "is missing: the data set is not whole", "unpack it again") from error
    except Image.DecompressionBombError as error:
        raise BadImageError(path, "has more pixels than Pillow reads (179 million)", "make it smaller") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BadImageError(path, f"cannot be read ({error.strerror})", "see to its permissions") from error
        why = "it is empty" if path.is_file() and not path.stat().st_size else "it is damaged or cut short"
        raise BadImageError(path, f"cannot be read as an image: {why}") from error


def format_of(content: bytes) -> str | None:
    """Return what Pillow calls the format of an image file with that content; None where it is no image."""
    try:
        with Image.open(io.BytesIO(content), formats=formats()) as image:
            return image.format
    except Exception:  # see `reading`
        return None


@lru_cache
def formats() -> tuple[str, ...]:
    """The formats that are read."""
    Image.init()
    return tuple(name for name in Image.ID if name not in NO_PICTURES)


@lru_cache
def suffixes() -> frozenset[str]:
    """How names of image files end, in lower case and with the dot."""
    read = {*formats(), "MPO"}  # which is opened by the plug-in for JPEG
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in read)


def check_values(image: Image.Image, path: Path | str) -> None:
    """Refuse an opened image whose values have no known range.

    Raises:
        BadImageError: it has 32 bits a channel.
    """
    known = image.mode == "I" and image.format in SIXTEEN_BIT
    if image.mode == "F" or (image.mode == "I" and not known):
        why = f"has 32-bit values ({image.mode}), whose range is not known"
        raise BadImageError(Path(path), why, "convert it to 8 or 16 bits")


def orientation(image: Image.Image) -> int:
    """Which of EXIF's eight ways, 1..8, is up; 1 where nothing or nothing sound says so."""
    try:
        value = image.getexif().get(Base.Orientation, 1)
    except Exception:  # damaged EXIF data, which Pillow has many errors for, say nothing
        return 1
    return value if value in TURNS else 1


def turn_matrix(orientation: int, width: int, height: int) -> np.ndarray:
    """Return the (3, 3) matrix from pixel edges of a stored image of that size to those of the upright one.

    >>> turn_matrix(6, 30, 20) @ [0, 0, 1]  # 6: the stored image's first pixel is the upright one's upper right
    array([20.,  0.,  1.])
    """
    across, down = (
        np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]),
        np.array([[1.0, 0, 0], [0, -1, height], [0, 0, 1]]),
    )
    swap = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    turns: dict[int, np.ndarray] = {
        1: np.eye(3), 2: across, 3: across @ down, 4: down,
        5: swap, 6: swap @ down, 7: swap @ across @ down, 8: swap @ across,
    }  # fmt: skip
    return turns[orientation]
