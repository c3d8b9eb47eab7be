"""What a segmenter says of images, beside what is there and the maps of its modules."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoomexp.analysis.contact_sheet import Panel, contact_sheet
from zoomexp.analysis.masks_over import classes_over, named
from zoomexp.analysis.overlay import enlarged, heat_over
from zoomexp.analysis.viewed import positions_of, to_look_at
from zoomexp.datasets.masked import IGNORED
from zoomexp.datasets.seeing import opened
from zoomexp.insertion import attention_maps


@dataclass(frozen=True, eq=False)
class ViewedMask:
    """An image as a segmenter sees it.

    Attributes:
        name: its number in the test split, or a file's name.
        image: (C, H, W), normalised.
        pixels: (3, H, W) in [0, 1], the same to look at.
        truth: (H, W), the class of each pixel; None of a file.
    """

    name: str
    image: Tensor
    pixels: Tensor
    truth: Tensor | None = None


def masks_of_test(data: Any, numbers: Sequence[int]) -> list[ViewedMask]:
    """Images of the test split, with their classes.

    Args:
        data: a data module with masks that has been set up.
        numbers: of the images.

    Raises:
        InputError: there is no such image.
    """
    positions = positions_of(numbers_of(data), numbers)
    batches = data.mask_batches("test", positions, 1)
    return [ViewedMask(str(number), batch["image"][0], to_look_at(batch["image"][0], data.mean, data.std),
                       batch["pixel_label"][0].long())
            for number, batch in zip(numbers, batches, strict=True)]  # fmt: skip


def numbers_of(data: Any) -> np.ndarray:
    """The numbers of the test images, (N,)."""
    part = data.masked("test")
    numbers: np.ndarray = part.index if hasattr(part, "index") else np.arange(len(part))
    return numbers


def mask_of_file(path: Path, seeing: Any) -> ViewedMask:
    """An image file, seen as the test images are.

    Raises:
        InputError: it is missing, or cannot be read as an image.
    """
    with opened(path, seeing.background) as picture:
        image = seeing.picture(picture)
    return ViewedMask(path.name, image, to_look_at(image, seeing.mean, seeing.std))


def mask_sheet(net: nn.Module, images: Iterable[ViewedMask], classes: Sequence[str], path: Path) -> Path:
    """Draw each image, what is there, what is said, and the maps of modules.

    Args:
        net: a segmenter in eval mode.
        images: what it is shown, one by one.
        classes: names by label.
        path: where the PNG is written.
    """
    rows: list[list[Panel]] = []
    columns: list[str] = []
    for viewed in images:
        with torch.no_grad():
            said = net(viewed.image[None])[0].argmax(0)
        picture = enlarged(viewed.pixels)
        row = [Panel(picture, f"image {viewed.name}"), _truth(picture, viewed, classes)]
        row.append(Panel(classes_over(picture, said, classes), f"{named(said, classes)}{_right(said, viewed.truth)}"))
        maps = attention_maps(net)
        row += [Panel(heat_over(picture, heat[0, 0])) for heat in maps.values()]
        columns = ["image", "truth", "said", *(f"map at {site}" for site in maps)]
        rows.append(row)
    return contact_sheet(rows, columns, path)


def _truth(picture: Tensor, viewed: ViewedMask, classes: Sequence[str]) -> Panel:
    if viewed.truth is None:
        return Panel(picture, "not known")
    return Panel(classes_over(picture, viewed.truth, classes), named(viewed.truth, classes))


def _right(said: Tensor, truth: Tensor | None) -> str:
    if truth is None or not bool((counts := truth != IGNORED).any()):
        return ""
    return f"\n{(said == truth)[counts].float().mean():.1%} of the pixels right"
