"""A real digit somewhere on a larger canvas, among fragments of other digits, with the digit's box.

After the cluttered MNIST of Mnih et al., "Recurrent Models of Visual Attention", arXiv 1406.6247, made of
scikit-learn's digits so that nothing is downloaded. Training, validation and test images are made of disjoint sets of
digits, fragments included. Where digit and fragments meet, the brighter pixel stays.
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import ImageArrays, Splits
from zoomexp.datasets.data_module import check_whole
from zoomexp.datasets.digits import digit_splits
from zoomexp.errors import InputError

FAINT = 32  # of 255: what is darker than this is not ink
PARTS = ("train", "val", "test")
LEAST = {
    "canvas": 8,
    "digit_size": 8,
    "distractors": 0,
    "fragment_size": 1,
    "train_images": 1,
    "test_images": 1,
    "data_seed": 0,
}


class ClutteredDigits(ArrayDataModule):
    """Digits among clutter; images (canvas, canvas, 1), classes 0 to 9.

    Args:
        canvas: side of an image, in pixels, at least `digit_size`.
        digit_size: side of the square a digit is drawn in.
        distractors: fragments an image, at least 0.
        fragment_size: side of a fragment, at most `digit_size`.
        train_images: images made of the training digits, those held out for validation included.
        test_images: images made of the test digits.
        data_seed: of everything that is drawn to make the images.
        **common: as in `ArrayDataModule`.

    Raises:
        InputError: a value out of its range.
    """

    name = "cluttered_digits"

    def __init__(
        self,
        *,
        canvas: int = 48,
        digit_size: int = 18,
        distractors: int = 6,
        fragment_size: int = 6,
        train_images: int = 5000,
        test_images: int = 1000,
        data_seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.canvas, self.digit_size = canvas, digit_size
        self.distractors, self.fragment_size = distractors, fragment_size
        self.train_images, self.test_images, self.data_seed = train_images, test_images, data_seed
        check_whole({field: getattr(self, field) for field in LEAST}, LEAST)
        if canvas < digit_size:
            raise InputError(f"dataset.canvas={canvas} is smaller than the digit; at least {digit_size}")
        if fragment_size > digit_size:
            raise InputError(f"dataset.fragment_size={fragment_size} is larger than the digit; at most {digit_size}")

    def read(self) -> Splits:
        """Return the plain digits, split; the images are made of them by `render`."""
        return digit_splits(self.data_seed)

    def render(self, arrays: ImageArrays, part: str, share: float) -> ImageArrays:
        """Make the images of one part out of its digits; see `ArrayDataModule.render`."""
        total = self.test_images if part == "test" else self.train_images
        return clutter(
            enlarge(arrays.images[..., 0], self.digit_size),
            arrays.labels,
            count=max(1, round(total * share)),
            canvas=self.canvas,
            distractors=self.distractors,
            fragment_size=self.fragment_size,
            generator=np.random.default_rng((self.data_seed, PARTS.index(part))),
        )


def enlarge(digits: np.ndarray, side: int) -> np.ndarray:
    """Resize digits (K, 8, 8) uint8 to (K, side, side) uint8, bilinear, with a background that is exactly 0."""
    larger = functional.interpolate(torch.from_numpy(digits)[:, None].float(), size=(side, side), mode="bilinear")
    resized = larger[:, 0].round().to(torch.uint8).numpy()
    return np.where(resized < FAINT, np.uint8(0), resized)


def clutter(
    digits: np.ndarray,
    labels: np.ndarray,
    *,
    count: int,
    canvas: int,
    distractors: int,
    fragment_size: int,
    generator: np.random.Generator,
) -> ImageArrays:
    """Place each digit about equally often, and fragments of the others beside it.

    Args:
        digits: (K, S, S) uint8, K at least 2, 0 where there is no ink.
        labels: (K,) int64.
        count: how many images to make.
        canvas: their side, in pixels, at least S.
        distractors: fragments an image.
        fragment_size: a fragment's side, at most S.
        generator: what the draws come from.

    Returns:
        `count` images (canvas, canvas, 1), with the tight boxes of the digits' ink.
    """
    source = np.resize(generator.permutation(len(digits)), count)
    corners = generator.integers(0, canvas - digits.shape[1] + 1, (count, 2))
    images = np.zeros((count, canvas, canvas), np.uint8)
    paste(images, np.arange(count), digits[source], corners)
    if distractors:
        steps = generator.integers(1, len(digits), count * distractors)  # never 0: never the digit itself
        others = (np.repeat(source, distractors) + steps) % len(digits)
        places = generator.integers(0, canvas - fragment_size + 1, (len(others), 2))
        fragments = cut_fragments(digits, others, fragment_size, generator)
        paste(images, np.repeat(np.arange(count), distractors), fragments, places)
    boxes = ink_boxes(digits)[source] + np.tile(corners[:, ::-1], 2)
    return ImageArrays(images[..., None], labels[source], boxes.astype(np.float32))


def paste(images: np.ndarray, where: np.ndarray, patches: np.ndarray, corners: np.ndarray) -> None:
    """Put patch i (s, s) into image `where[i]` at `corners[i]` (top, left), keeping the brighter pixel."""
    side, canvas = patches.shape[1], images.shape[1]
    start = (where * canvas + corners[:, 0]) * canvas + corners[:, 1]
    square = np.arange(side)[:, None] * canvas + np.arange(side)
    np.maximum.at(images.reshape(-1), start[:, None, None] + square, patches)


def cut_fragments(digits: np.ndarray, chosen: np.ndarray, side: int, generator: np.random.Generator) -> np.ndarray:
    """Cut one (side, side) piece around a random ink pixel out of each of the `chosen` digits (M,)."""
    digit, row, column = np.nonzero(digits)  # sorted by digit
    first, last = np.searchsorted(digit, chosen), np.searchsorted(digit, chosen, side="right")
    pixel = first + np.floor(generator.random(len(chosen)) * (last - first)).astype(np.int64)
    top, left = (np.clip(axis[pixel] - side // 2, 0, digits.shape[1] - side) for axis in (row, column))
    steps = np.arange(side)
    rows, columns = top[:, None, None] + steps[:, None], left[:, None, None] + steps
    pieces: np.ndarray = digits[chosen[:, None, None], rows, columns]
    return pieces


def ink_boxes(digits: np.ndarray) -> np.ndarray:
    """Return the tight boxes (K, 4), x0, y0, x1, y1 in pixel edges, of the ink of digits (K, S, S)."""
    edges = []
    for axis in (1, 2):  # any ink in a column, then in a row
        ink = np.asarray(digits.any(axis=axis))
        edges.append((ink.argmax(axis=1), ink.shape[1] - ink[:, ::-1].argmax(axis=1)))
    (x0, x1), (y0, y1) = edges
    return np.stack([x0, y0, x1, y1], axis=1)
