"""What the model sees of an image: a window of it as a square of pixels, perhaps mirrored and distorted.

A view comes with its steps: 3 x 3 matrices from pixel edges to pixel edges, the first from the upright image's to the
square's. (`Picture.turn` leads from the file's to the upright image's.)
Boxes and points go through them one by one, and what leaves the square on the way stays lost, as its pixels are.
(torchvision's own points are off by one pixel after a flip, and are moved onto the border where they should be reported
as cropped away; tests compare images and boxes with torchvision's.)
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from zoomexp.datasets.picture import Picture, Window

RATIO = (3 / 4, 4 / 3)  # width : height of a random window
Steps = list[np.ndarray]  # (3, 3) each
Augment = Callable[[Image.Image], tuple[Image.Image, Steps]]


class View(Protocol):
    """Turns an opened picture into (S, S, 3) uint8 pixels and the steps from the upright image to them."""

    side: int

    def __call__(self, picture: Picture) -> tuple[np.ndarray, Steps]:
        """Look at `picture`."""


class CentralView:
    """The central square: resize the short side to `side` / `crop_pct`, crop `side` x `side`.

    Always the same, but for `flip`: mirrored half the time, as torch's global generator draws.
    """

    def __init__(self, side: int, crop_pct: float, flip: bool = False, interpolation: str = "bilinear") -> None:
        self.side, self.crop_pct, self.flip, self.interpolation = side, crop_pct, flip, interpolation

    def __call__(self, picture: Picture) -> tuple[np.ndarray, Steps]:
        """See `View`."""
        window = central_window(*picture.size, self.side, self.crop_pct)
        image, matrix = picture.square(window, self.side, self.interpolation), window_matrix(window, self.side)
        image, matrix = perhaps_mirrored(image, matrix) if self.flip else (image, matrix)
        return np.asarray(image), [matrix]

    def matrix(self, width: int, height: int) -> np.ndarray:
        """Return the (3, 3) step of an image of that size."""
        return window_matrix(central_window(width, height, self.side, self.crop_pct), self.side)


class WholeView:
    """All of an image as a square, whatever its sides; mirrored half the time if `flip`, as `CentralView`."""

    def __init__(self, side: int, flip: bool = False, interpolation: str = "bilinear") -> None:
        self.side, self.flip, self.interpolation = side, flip, interpolation

    def __call__(self, picture: Picture) -> tuple[np.ndarray, Steps]:
        """See `View`."""
        window = (0.0, 0.0, float(picture.size[0]), float(picture.size[1]))
        image, matrix = picture.square(window, self.side, self.interpolation), window_matrix(window, self.side)
        image, matrix = perhaps_mirrored(image, matrix) if self.flip else (image, matrix)
        return np.asarray(image), [matrix]


class RandomView:
    """A random window, mirrored half the time if `flip`, then perhaps augmented further.

    Draws from the global generators of torch and `random`: seed them first.
    """

    def __init__(
        self,
        side: int,
        *,
        scale: tuple[float, float],
        flip: bool,
        augment: Augment | None,
        interpolation: str = "bilinear",
    ) -> None:
        self.side, self.scale, self.flip, self.augment, self.interpolation = side, scale, flip, augment, interpolation

    def __call__(self, picture: Picture) -> tuple[np.ndarray, Steps]:
        """See `View`."""
        from torchvision.transforms import RandomResizedCrop

        as_large = torch.empty(0, *picture.size[::-1])  # torchvision reads no more of it than its size
        top, left, height, width = RandomResizedCrop.get_params(as_large, self.scale, RATIO)
        window = (left, top, width, height)
        image, matrix = picture.square(window, self.side, self.interpolation), window_matrix(window, self.side)
        image, matrix = perhaps_mirrored(image, matrix) if self.flip else (image, matrix)
        if self.augment is None:
            return np.asarray(image), [matrix]
        image, steps = self.augment(image)
        return np.asarray(image), [matrix, *steps]


def perhaps_mirrored(image: Image.Image, matrix: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Mirror an image and its step (3, 3), half the time."""
    if torch.rand(()) >= 0.5:
        return image, matrix
    mirror = np.array([[-1.0, 0, image.size[0]], [0, 1, 0], [0, 0, 1]])
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), mirror @ matrix


def central_window(width: int, height: int, side: int, crop_pct: float) -> Window:
    """Return the window that `Resize(floor(side / crop_pct))` and `CenterCrop(side)` keep, rounded as they round.

    >>> central_window(512, 256, side=224, crop_pct=0.875)
    (144.0, 16.0, 224.0, 224.0)
    """
    short = math.floor(side / crop_pct)
    resized = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    scales = (width / resized[0], height / resized[1])
    x, y = (round((length - side) / 2.0) * scale for length, scale in zip(resized, scales, strict=True))
    return (x, y, side * scales[0], side * scales[1])


def window_matrix(window: Window, side: int) -> np.ndarray:
    """Return the (3, 3) matrix that moves the window's corners onto those of a square of `side` pixels."""
    left, top, width, height = window
    kx, ky = side / width, side / height
    return np.array([[kx, 0, -left * kx], [0, ky, -top * ky], [0, 0, 1]])


def move_box(box: np.ndarray, steps: Steps, side: int) -> np.ndarray:
    """Return the upright box around the moved `box` (4,), clipped to 0..side: no area where it was cropped away."""
    for matrix in steps:
        x0, y0, x1, y1 = box
        corners = move(np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]], np.float64), matrix)
        box = np.concatenate([corners.min(0), corners.max(0)]).clip(0, side)
    return box.astype(np.float32)


def move_parts(parts: np.ndarray, steps: Steps, side: int) -> np.ndarray:
    """Return the moved parts (P, 3), float32; a part that left the square, or was hidden before, is 0, 0, 0."""
    places, visible = parts[:, :2].astype(np.float64), parts[:, 2] > 0
    for matrix in steps:
        places = move(places, matrix)
        visible = visible & (places >= 0).all(1) & (places < side).all(1)
    return np.where(visible[:, None], np.column_stack([places, visible]), 0).astype(np.float32)


def joined(steps: Steps) -> np.ndarray:
    """Return the one matrix (3, 3) that does what the steps do, the first of them first."""
    return reduce(lambda done, step: step @ done, steps)


def move(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Move points (P, 2) by an affine `matrix` (3, 3)."""
    moved: np.ndarray = points @ matrix[:2, :2].T + matrix[:2, 2]
    return moved
