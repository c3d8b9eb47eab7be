"""Images to draw: of a data set's test split, seen as the test sees them, or any image file, seen the same way."""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoomexp.analysis.viewed import Viewed, to_look_at
from zoomexp.data_protocols import ShowsImages
from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.picture import open_picture
from zoomexp.datasets.pixels import WHITE
from zoomexp.datasets.views import CentralView
from zoomexp.errors import InputError

MOST = 640  # pixels of an original's longer side; larger ones are shrunk, pictures need no more
GREY = (0.299, 0.587, 0.114)  # what red, green and blue give to a grey value


def of_test_split(data: ShowsImages, number: int) -> Viewed:
    """One image of the test split.

    Args:
        data: A data module that has been set up.
        number: The image's `index` in the test split.

    Raises:
        InputError: There is no such image, or it cannot be read.
    """
    part = data.part("test")
    found = np.flatnonzero(part.index == number)
    if not len(found):
        raise InputError(f"images={number}: not in the test split, whose {len(part)} numbers reach {part.index.max()}")
    batch = next(iter(data.plain_batches("test", found, 1)))
    pixels = to_look_at(batch["image"][0], data.mean, data.std)
    name, original, matrix = str(number), pixels, np.eye(3)
    if isinstance(part, ImageFiles):
        original, matrix = _original(part.path(found[0]), data.central_view(), data.background)
        name = f"{number}: {part.name(found[0])}"
    box = batch["box"][0] if "box" in batch else None
    return Viewed(name, batch["image"][0], pixels, original, matrix, int(batch["label"][0]), box)


def of_file(data: ShowsImages, path: Path) -> Viewed:
    """An image file, resized and normalised as the data set's test images are; the central square of array sets.

    Raises:
        InputError: It is missing, or cannot be read as an image.
    """
    if not path.is_file():
        raise InputError(f"images={path}: no such file")
    own = hasattr(data, "central_view")
    view = (
        data.central_view() if own else CentralView(cast(int, data.image_size), 1.0, interpolation=data.interpolation)
    )
    background = getattr(data, "background", WHITE)
    with open_picture(path, background) as picture:
        seen, _ = view(picture)
    pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1).float() / 255
    if data.channels == 1:
        pixels = (pixels * torch.tensor(GREY)[:, None, None]).sum(0, keepdim=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    return Viewed(path.name, (pixels - mean) / std, pixels.expand(3, -1, -1), *_original(path, view, background))


def _original(path: Path, view: CentralView, background: tuple[int, int, int]) -> tuple[Tensor, np.ndarray]:
    """A file's image (3, H, W) in [0, 1], at most `MOST` a side, and the matrix from its pixels to the view's."""
    with open_picture(path, background) as picture:
        image = picture.rgb()
    full = image.size
    scale = min(1.0, MOST / max(full))
    image = image.resize([max(1, round(side * scale)) for side in full], Image.Resampling.BILINEAR)
    shrunk = np.diag([full[0] / image.size[0], full[1] / image.size[1], 1.0])
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255, view.matrix(*full) @ shrunk
