"""How a detector sees an image: resized whole, and in training mirrored, rescaled and cropped, boxes moving along.

DETR's augmentation as YOLOS has it: a mirror half the time; then, half the time each, a random scale, or a resize to a
small one, a random crop and a random scale. Sides end as multiples of the patch, rounded down, so that the aspect ratio
changes by a few pixels. torchvision's v2 transforms move pixels and boxes. Random numbers: torch's global generator.
"""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

SMALLER = (400, 500, 600)  # before the crop
CROP = (384, 600)  # least and most pixels of a side
LONGEST = 1333 / 800  # of the long side, in short sides


def fitted(width: int, height: int, short: int, longest: int, multiple: int) -> tuple[int, int]:
    """Height and width with that short side, the long one at most `longest`, both rounded down to a multiple.

    >>> fitted(640, 480, 800, 1333, 16), fitted(1000, 250, 800, 1333, 16)
    ((800, 1056), (320, 1328))
    """
    low, high = min(width, height), max(width, height)
    if high / low * short > longest:
        short = round(longest * low / high)
    long = int(short * high / low)
    sides = (long, short) if width < height else (short, long)
    height, width = (max(multiple, side - side % multiple) for side in sides)
    return height, width


class WholeScene:
    """An image resized to a short side.

    Args:
        short: side in pixels.
        multiple: of the sides, in pixels.
    """

    def __init__(self, short: int, multiple: int) -> None:
        self.short, self.longest, self.multiple = short, int(short * LONGEST), multiple

    def __call__(self, image: Image.Image, boxes: Tensor) -> tuple[Image.Image, Tensor, Tensor]:
        """The image, its boxes (T, 4) moved, none lost, and which they are, (T,) bool."""
        image, boxes = resized(image, boxes, fitted(*image.size, self.short, self.longest, self.multiple))
        return image, boxes, torch.ones(len(boxes), dtype=torch.bool)


class RandomScene:
    """An image augmented.

    Args:
        scales: short sides in pixels, one of which is drawn.
        multiple: of the sides, in pixels.
        crop: whether half the images are cropped.
        flip: whether half are mirrored.
    """

    def __init__(self, scales: Sequence[int], multiple: int, crop: bool, flip: bool) -> None:
        self.scales, self.multiple, self.crop, self.flip = tuple(scales), multiple, crop, flip
        self.longest = int(max(scales) * LONGEST)

    def __call__(self, image: Image.Image, boxes: Tensor) -> tuple[Image.Image, Tensor, Tensor]:
        """The image, the boxes (M, 4) that are left, cut at its edges, and which of the T they were, (T,) bool."""
        if self.flip and torch.rand(()) < 0.5:
            image, boxes = mirrored(image, boxes)
        if self.crop and torch.rand(()) < 0.5:
            image, boxes = resized(image, boxes, fitted(*image.size, _one_of(SMALLER), 10**9, self.multiple))
            image, boxes = cropped(image, boxes, *(_crop_of(side) for side in image.size))
        image, boxes = resized(image, boxes, fitted(*image.size, _one_of(self.scales), self.longest, self.multiple))
        boxes = boxes.clamp(min=0).minimum(torch.tensor([*image.size, *image.size]))
        left = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return image, boxes[left], left


def resized(image: Image.Image, boxes: Tensor, size: tuple[int, int]) -> tuple[Image.Image, Tensor]:
    """Image and boxes at a height and width, bilinear with antialiasing."""
    from torchvision.transforms.v2 import functional as F

    return F.resize(image, list(size)), F.resize(_boxes(image, boxes), list(size)).as_subclass(Tensor)


def mirrored(image: Image.Image, boxes: Tensor) -> tuple[Image.Image, Tensor]:
    """Left and right exchanged."""
    from torchvision.transforms.v2 import functional as F

    return F.horizontal_flip(image), F.horizontal_flip(_boxes(image, boxes)).as_subclass(Tensor)


def cropped(
    image: Image.Image, boxes: Tensor, columns: tuple[int, int], rows: tuple[int, int]
) -> tuple[Image.Image, Tensor]:
    """A window of first and number of columns and rows; boxes may reach beyond it."""
    (left, width), (top, height) = columns, rows
    moved = boxes - torch.tensor([left, top, left, top], dtype=boxes.dtype)
    edge = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    return image.crop((left, top, left + width, top + height)), moved.clamp(min=0).minimum(edge)


def _boxes(image: Image.Image, boxes: Tensor) -> Tensor:
    from torchvision.tv_tensors import BoundingBoxes

    on_image: Tensor = BoundingBoxes(boxes, format="XYXY", canvas_size=image.size[::-1], clamping_mode=None)
    return on_image


def _one_of(values: Sequence[int]) -> int:
    return values[int(torch.randint(len(values), ()))]


def _crop_of(side: int) -> tuple[int, int]:
    """Where a random crop of a side begins, and how long it is."""
    least, most = min(CROP[0], side), min(CROP[1], side)
    length = int(torch.randint(least, most + 1, ()))
    return int(torch.randint(side - length + 1, ())), length
