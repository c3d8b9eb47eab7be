"""Images for a detector to be drawn: of a data set's test split, or any file, with the objects that are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoomexp.analysis.viewed import positions_of, to_look_at
from zoomexp.data_protocols import lists_scenes
from zoomexp.datasets.scene_seeing import SceneSeeing
from zoomexp.datasets.seeing import Seeing, opened
from zoomexp.tasks.scene_batches import objects_in, scored_sizes, sizes_of


@dataclass(frozen=True, eq=False)
class ViewedScene:
    """An image as a detector sees it.

    Attributes:
        name: its number in the test split, or a file's name.
        image: (C, H, W), normalised.
        pixels: (3, H, W) in [0, 1], the same to look at.
        scored: height and width of the image in whose pixels a run's boxes are kept.
        boxes: (T, 4) of the objects, x0, y0, x1, y1 in pixels of `pixels`; none of a file.
        labels: (T,) int64; None where they are not known.
    """

    name: str
    image: Tensor
    pixels: Tensor
    scored: tuple[int, int]
    boxes: Tensor
    labels: Tensor | None = None


def numbers_of(data: Any) -> np.ndarray:
    """The numbers of the test images, (N,)."""
    numbers: np.ndarray = np.arange(len(data.scenes("test"))) if lists_scenes(data) else data.part("test").index
    return numbers


def scenes_of_test(data: Any, numbers: Sequence[int]) -> list[ViewedScene]:
    """Images of the test split, with their objects.

    Args:
        data: a data module that has been set up, of scenes or of images with one object each.
        numbers: of the images.

    Raises:
        InputError: there is no such image.
    """
    positions = positions_of(numbers_of(data), numbers)
    batches = data.scene_batches if lists_scenes(data) else data.plain_batches
    return [_of_batch(str(number), batch, data)
            for number, batch in zip(numbers, batches("test", positions, 1), strict=True)]  # fmt: skip


def scene_of_file(path: Path, seeing: Seeing | SceneSeeing) -> ViewedScene:
    """An image file, seen as the test images are.

    Raises:
        InputError: it is missing, or cannot be read as an image.
    """
    with opened(path, seeing.background) as picture:
        image = seeing.picture(picture)
        size = picture.size[::-1]
    return ViewedScene(path.name, image, to_look_at(image, seeing.mean, seeing.std), size, torch.zeros(0, 4))


def _of_batch(name: str, batch: Any, data: Any) -> ViewedScene:
    size = sizes_of(batch)
    height, width = size[0].tolist()
    image, there = batch["image"][0, :, :height, :width], objects_in(batch, size)
    pixels, scored = to_look_at(image, data.mean, data.std), scored_sizes(batch)[0].tolist()
    return ViewedScene(name, image, pixels, (scored[0], scored[1]), there.boxes, there.labels)
