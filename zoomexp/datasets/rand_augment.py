"""timm's RandAugment (Cubuk et al., arXiv 1909.13719), with what it takes to move boxes and points along.

The operations, their magnitudes and their probabilities are timm's. A third of them shear, shift or rotate the image;
those run a second time on a recorder, with the same random numbers, which keeps the matrix.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image

POLICY = "rand-m9-mstd0.5"  # two operations, each applied half the time, at magnitude 9 with deviation 0.5
MOVING = frozenset({"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"})


class RandAugment:
    """Two random operations on an image; draws from the global `random`.

    Args:
        side: of the images, in pixels.
        mean: three values 0..1, the colour of the corners that a rotation or shift leaves empty.
    """

    def __init__(self, side: int, mean: Sequence[float]) -> None:
        from timm.data.auto_augment import rand_augment_transform

        colour = tuple(min(255, round(255 * value)) for value in mean)
        options = {"translate_const": int(side * 0.45), "img_mean": colour}
        made = rand_augment_transform(POLICY, options | {"interpolation": Image.Resampling.BILINEAR})
        self.operations, self.count = made.ops, made.num_layers

    def __call__(self, image: Image.Image) -> tuple[Image.Image, list[np.ndarray]]:
        """Return the changed image, and a (3, 3) matrix, from old pixel edges to new, for each time it was moved."""
        steps = []
        for operation in random.choices(self.operations, k=self.count):
            before = random.getstate()
            changed = operation(image)
            if operation.name in MOVING:
                random.setstate(before)
                recorder = Recorder(image.size)
                operation(recorder)
                steps.append(np.linalg.inv(recorder.matrix))
            image = changed
        return image, steps


class Recorder:
    """Stands in for an image; keeps the matrix, from new to old pixel edges, by which it would have been moved."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self.matrix = size, np.eye(3)

    def transform(self, _: tuple[int, int], method: int, data: Sequence[float], **__: object) -> "Recorder":
        """As `PIL.Image.Image.transform`, for affine transforms."""
        if method != Image.Transform.AFFINE:
            raise ValueError(f"not an affine transform: {method}")
        self.matrix[:2] = np.reshape(data, (2, 3))
        return self

    def rotate(self, angle: float, **_: object) -> "Recorder":
        """As `PIL.Image.Image.rotate`: counter-clockwise in degrees, about the centre."""
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        centre = np.array(self.size) / 2
        self.matrix[:2, :2] = [[cos, -sin], [sin, cos]]
        self.matrix[:2, 2] = centre - self.matrix[:2, :2] @ centre
        return self
