"""What is made of scikit-learn's digits on a canvas: several real digits among fragments of others; no download.

Made as `cluttered_digits` is. Training, validation and test images are made of disjoint sets of digits. Boxes are those
of the ink, whole and disjoint; fragments may lie anywhere, and where they meet a digit the brighter pixel stays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from zoomexp.arguments import list_of, number
from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.cluttered_digits import PARTS, cut_fragments, enlarge, ink_boxes, paste
from zoomexp.datasets.data_module import DataModule, check_whole
from zoomexp.datasets.digits import digit_splits
from zoomexp.datasets.holdout import hold_out
from zoomexp.datasets.scenes import Scenes
from zoomexp.errors import InputError

Box = tuple[int, int, int, int]  # x0, y0, x1, y1
TRIES = 100  # places that are tried for a digit before the scene goes without it
LEAST = {"canvas": 8, "digits": 1, "fragments": 0, "fragment_size": 1, "train_images": 1, "test_images": 1,
         "data_seed": 0}  # fmt: skip


class DigitCanvas(DataModule):
    """One to several digits an image; images (canvas, canvas, 1). A subclass says what of them its batches hold.

    Args:
        canvas: side of an image, in pixels, at least the largest digit.
        digits: most digits an image; all numbers from 1 are as likely.
        digit_sizes: sides of the squares digits are drawn in, in pixels, one of them drawn for each digit.
        fragments: pieces of other digits an image.
        fragment_size: their side, at most the smallest digit's.
        train_images: images made of the training digits, those held out for validation included.
        test_images: images made of the test digits.
        eval_batch_size: images a batch in validation and test, per process.
        enlarge: the images, made as said, are resized to so many times their side, at least 1, and boxes with them.
        data_seed: of everything that is drawn to make the images.
        **common: as in `DataModule`; `val_fraction` is that of the training digits, and images. Nothing is stored.

    Raises:
        InputError: a value out of its range.
    """

    def __init__(
        self,
        *,
        canvas: int = 48,
        digits: int = 3,
        digit_sizes: Sequence[int] = (14, 18),
        fragments: int = 3,
        fragment_size: int = 6,
        train_images: int = 8000,
        test_images: int = 2000,
        eval_batch_size: int = 500,
        enlarge: float = 1,
        data_seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(eval_batch_size=eval_batch_size, **common)
        self.canvas, self.digits, self.digit_sizes = canvas, digits, digit_sizes
        self.fragments, self.fragment_size = fragments, fragment_size
        self.train_images, self.test_images = train_images, test_images
        self.data_seed, self.enlarge = data_seed, enlarge
        self._check()

    def make_parts(self) -> dict[str, Scenes | None]:
        """Make the scenes."""
        splits = digit_splits(self.data_seed)
        train, val = splits.train, None
        if self.validate_on == "heldout":
            train, val = hold_out(splits.train, self.val_fraction, self.split_seed)
        share = len(train) / len(splits.train)
        parts: dict[str, Scenes | None] = {
            "train": self._scenes(train, "train", max(1, round(share * self.train_images))),
            "val": self._scenes(val, "val", max(1, round((1 - share) * self.train_images))) if val else None,
            "test": self._scenes(splits.test, "test", self.test_images),
        }
        self._classes = splits.classes
        return parts | ({"val": parts["test"]} if self.validate_on == "test" else {})

    @property
    def channels(self) -> int:
        """Images are grey."""
        return 1

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return round(self.enlarge * self.canvas)

    def options(self, part: str) -> dict[str, Any]:
        """How the loader of a part is made, its batch size included."""
        batch_size, world = self.share(part)
        given: dict[str, Any] = {"batch_size": batch_size, "device": self.device, "mean": self.mean, "std": self.std}
        if part == "train":
            given |= {"shuffle": True, "drop_last": self.drop_last, "seed": self.seed}
        return given | world

    def _scenes(self, source: ImageArrays, part: str, count: int) -> Scenes:
        made = scenes_of(
            source, count, self.canvas, self.digits, self.digit_sizes, self.fragments, self.fragment_size,
            np.random.default_rng((self.data_seed, PARTS.index(part))),
        )  # fmt: skip
        return made if self.image_size == self.canvas else enlarged(made, self.image_size)

    def _check(self) -> None:
        check_whole({field: getattr(self, field) for field in LEAST}, LEAST)
        number("dataset.enlarge", self.enlarge, 1)
        list_of("dataset.digit_sizes", self.digit_sizes, int, "sides in pixels")
        sizes = list(self.digit_sizes) or [0]
        if min(sizes) < 8 or max(sizes) > self.canvas:
            raise InputError(f"dataset.digit_sizes={sizes} must be within 8..{self.canvas}, the canvas")
        if self.fragment_size > min(sizes):
            raise InputError(f"dataset.fragment_size={self.fragment_size} is larger than a digit; at most {min(sizes)}")


def scenes_of(
    source: ImageArrays,
    count: int,
    canvas: int,
    digits: int,
    sizes: Sequence[int],
    fragments: int,
    fragment_size: int,
    draw: np.random.Generator,
) -> Scenes:
    """Make `count` scenes of digits (K, 8, 8, 1), each of which is used about equally often; see `DigitScenes`."""
    drawn = [enlarge(source.images[..., 0], size) for size in sizes]
    inks = [ink_boxes(one).tolist() for one in drawn]
    wanted = draw.integers(1, digits + 1, count)
    which = iter(np.resize(draw.permutation(len(source)), wanted.sum()).tolist())
    images, boxes, labels, counts = np.zeros((count, canvas, canvas), np.uint8), [], [], np.zeros(count, np.int64)
    masks = np.zeros_like(images)
    for scene, most in enumerate(wanted.tolist()):
        placed: list[Box] = []
        for digit in (next(which) for _ in range(most)):
            kind = int(draw.integers(len(sizes)))
            corner = _corner(inks[kind][digit], canvas - sizes[kind], placed, draw)
            if corner is None:
                continue
            top, left = corner
            placed.append(_moved(inks[kind][digit], top, left))
            square = images[scene, top : top + sizes[kind], left : left + sizes[kind]]
            np.maximum(square, drawn[kind][digit], out=square)
            labels.append(int(source.labels[digit]))
            masks[scene, top : top + sizes[kind], left : left + sizes[kind]][drawn[kind][digit] > 0] = labels[-1] + 1
        boxes += placed
        counts[scene] = len(placed)
    _add_fragments(images, drawn[0], fragments, fragment_size, draw)
    return Scenes(images[..., None], counts, np.array(boxes, np.float32), np.array(labels, np.int64), masks)


def enlarged(scenes: Scenes, side: int) -> Scenes:
    """The same scenes with images of another side, bilinear, their boxes, and their masks by the nearest pixel."""
    images = _resized(scenes.images[..., 0], side, Image.Resampling.BILINEAR)
    masks = None if scenes.masks is None else _resized(scenes.masks, side, Image.Resampling.NEAREST)
    boxes = (scenes.boxes * (side / scenes.images.shape[1])).astype(np.float32)
    return Scenes(images[..., None], scenes.counts, boxes, scenes.labels, masks)


def _resized(whole: np.ndarray, side: int, how: Image.Resampling) -> np.ndarray:
    """Images (N, H, W) uint8 at another side."""
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), how)) for one in whole])


def _corner(ink: Box, room: int, placed: list[Box], draw: np.random.Generator) -> tuple[int, int] | None:
    """A corner (top, left) in 0..room where a box of ink meets none of those placed; None if none was found."""
    for _ in range(TRIES):
        top, left = draw.integers(0, room + 1, 2).tolist()
        x0, y0, x1, y1 = _moved(ink, top, left)
        if all(x1 <= a or c <= x0 or y1 <= b or d <= y0 for a, b, c, d in placed):
            return top, left
    return None


def _moved(box: Box, top: int, left: int) -> Box:
    return box[0] + left, box[1] + top, box[2] + left, box[3] + top


def _add_fragments(images: np.ndarray, digits: np.ndarray, number: int, side: int, draw: np.random.Generator) -> None:
    if not number:
        return
    places = draw.integers(0, images.shape[1] - side + 1, (len(images) * number, 2))
    pieces = cut_fragments(digits, draw.integers(0, len(digits), len(places)), side, draw)
    paste(images, np.repeat(np.arange(len(images)), number), pieces, places)
