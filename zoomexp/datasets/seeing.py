"""How a run's network sees an image that is not of its data set: as its test images are seen."""

from collections.abc import Mapping
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
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        with open_picture(path, self.background) as picture:
            return self._seen(picture)

    def image(self, image: Image.Image, name: str | Path = "image") -> Tensor:
        """Turn an image of any size and mode into what the network gets: (C, S, S) float32."""
        return self._seen(Picture(image, name, self.background))

    def _seen(self, picture: Picture) -> Tensor:
        side = self.image_size - 2 * self.pad
        seen, _ = CentralView(side, self.crop_pct, interpolation=self.interpolation)(picture)
        pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1).float() / 255
        if self.channels == 1:
            pixels = (pixels * torch.tensor(GREY)[:, None, None]).sum(0, keepdim=True)
        pixels = torch.nn.functional.pad(pixels, (self.pad,) * 4)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (pixels - mean) / std
