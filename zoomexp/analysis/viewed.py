"""One image as the model sees it and as it is in its file, and maps carried back from the one to the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoomexp.errors import InputError


@dataclass(frozen=True, eq=False)
class Viewed:
    """An image with what is known of it.

    Attributes:
        name: Its number in the test split, with its file if it has one, or a file's name.
        image: (C, S, S), normalised: what the model gets.
        pixels: (3, S, S) in [0, 1]: the same to look at.
        original: (3, H, W) in [0, 1]: the file's image; `pixels` again where the data are no files.
        matrix: (3, 3) float64, from pixel edges of `original` to pixel edges of `pixels`.
        label: Class index; None where it is not known.
        box: (4,), x0, y0, x1, y1 in pixels of `pixels`; None where there is none.
    """

    name: str
    image: Tensor
    pixels: Tensor
    original: Tensor
    matrix: np.ndarray
    label: int | None = None
    box: Tensor | None = None

    def to_original(self, heat: Tensor, zoom: int = 1) -> Tensor:
        """Carry a map of the view back to the file's image.

        Args:
            heat: (h, w), covering the view evenly.
            zoom: How many values are wanted for a pixel's side.

        Returns:
            (zoom H, zoom W), bilinear; NaN where the model saw nothing of the image.
        """
        height, width = self.original.shape[1:]
        x, y = ((torch.arange(size * zoom) + 0.5) / zoom for size in (width, height))
        x, y = torch.meshgrid(x, y, indexing="xy")
        points = torch.stack([x, y, torch.ones_like(x)], dim=-1).double() @ torch.from_numpy(self.matrix).T
        place = (2 * points[..., :2] / self.pixels.shape[-1] - 1).float()  # -1..1 over the view
        values = F.grid_sample(
            heat[None, None].float(), place[None], mode="bilinear", padding_mode="border", align_corners=False
        )[0, 0]
        return values.masked_fill((place.abs() > 1).any(-1), torch.nan)


def to_look_at(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Undo the normalisation of an image (C, H, W), C = 1 or 3: (3, H, W) in [0, 1]."""
    shift, scale = (torch.tensor(values, dtype=image.dtype)[:, None, None] for values in (mean, std))
    return (image * scale + shift).clamp(0, 1).expand(3, -1, -1)


def positions_of(known: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Where images with these numbers stand in the test split, whose numbers are `known`.

    Raises:
        InputError: there is no such image.
    """
    if unknown := [number for number in numbers if number not in known]:
        raise InputError(f"images={unknown[0]}: not in the test split, whose {len(known)} numbers reach {known.max()}")
    return np.array([int(np.flatnonzero(known == number)[0]) for number in numbers])
