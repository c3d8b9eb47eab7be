"""How a run's network sees an image that is not of its data set: as its test images are seen."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoomexp.datasets.picture import Picture, open_picture
from zoomexp.datasets.pixels import WHITE
from zoomexp.datasets.views import CentralView
from zoomexp.errors import InputError

GREY = (0.299, 0.587, 0.114)  # what red, green and blue give to a grey value


@dataclass(frozen=True)
class Seeing:
    """The central square of an image, resized and normalised.

    Args:
        image_size: Side of what the network gets, in pixels, borders included.
        channels: 3, or 1 for grey.
        mean, std: Per channel, on the scale 0..1.
        crop_pct: What is kept of the short side.
        interpolation: One of `picture.KINDS`.
        pad: Black pixels on every side, part of `image_size`.
        background: Red, green and blue, 0..255, behind what is transparent.
    """

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 1.0
    pad: int = 0
    background: tuple[int, int, int] = WHITE
    interpolation: str = "bilinear"

    @classmethod
    def of_data(cls, data: Any) -> "Seeing":
        """That of a data module's test images."""
        mean, std = tuple(data.mean), tuple(data.std)
        if hasattr(data, "crop_pct"):
            options = {"background": data.background, "interpolation": data.interpolation}
            return cls(data.image_size, data.channels, mean, std, data.crop_pct, **options)
        own = data.part("test").images.shape[1]  # arrays; training images may have been cut to another size
        options = {"pad": 0 if data.target_size else data.pad, "interpolation": data.interpolation}
        return cls(data.target_size or own, data.channels, mean, std, **options)

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "Seeing":
        """That which `facts()` wrote down."""
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
        return cls(**given)

    def facts(self) -> dict[str, Any]:
        """The arguments, for a run record."""
        return asdict(self)

    def file(self, path: Path) -> Tensor:
        """Read an image file: (C, S, S).

        Raises:
            InputError: It is missing, or cannot be read as an image.
        """
        with opened(path, self.background) as picture:
            return self.picture(picture)

    def image(self, image: Image.Image, name: str | Path = "image") -> Tensor:
        """Turn an image of any size and mode into what the network gets: (C, S, S) float32."""
        return self.picture(Picture(image, name, self.background))

    def picture(self, picture: Picture) -> Tensor:
        """Turn an opened image into what the network gets: (C, S, S) float32."""
        seen, _ = self._view(picture)
        pixels = as_channels(seen, self.channels)
        return normalised(torch.nn.functional.pad(pixels, (self.pad,) * 4), self.mean, self.std)

    def to_file(self, width: int, height: int) -> np.ndarray:
        """(3, 3), from shares of the input's sides to pixels of the upright image of that size."""
        shares = np.diag([self.image_size, self.image_size, 1.0])
        border = np.array([[1.0, 0, -self.pad], [0, 1, -self.pad], [0, 0, 1]])
        matrix: np.ndarray = np.linalg.inv(self._view.matrix(width, height)) @ border @ shares
        return matrix

    @property
    def _view(self) -> CentralView:
        return CentralView(self.image_size - 2 * self.pad, self.crop_pct, interpolation=self.interpolation)


@contextmanager
def opened(image: str | Path | Image.Image, background: tuple[int, int, int] = WHITE) -> Iterator[Picture]:
    """Open an image file, or take an image as it is.

    Raises:
        InputError: It is missing, or cannot be read as an image.
    """
    if isinstance(image, Image.Image):
        yield Picture(image, "image", background)
        return
    if not (path := Path(image)).is_file():
        raise InputError(f"{path}: no such file")
    with open_picture(path, background) as picture:
        yield picture


def as_channels(image: Any, channels: int) -> Tensor:
    """An RGB image (H, W, 3), 0..255, as (C, H, W) in [0, 1]; 1 channel is its grey value."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return (pixels * torch.tensor(GREY)[:, None, None]).sum(0, keepdim=True) if channels == 1 else pixels


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Pixels (C, H, W) minus a mean over a spread per channel."""
    shift, scale = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return (pixels - shift) / scale
