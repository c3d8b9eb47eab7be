"""How a detector sees an image that is not of its data set: whole, as its test images are."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoomexp.datasets.picture import Picture
from zoomexp.datasets.pixels import WHITE
from zoomexp.datasets.scene_views import WholeScene
from zoomexp.datasets.seeing import Seeing, as_channels, normalised
from zoomexp.datasets.square_seeing import SquareSeeing


@dataclass(frozen=True)
class SceneSeeing:
    """All of an image, resized to a short side and normalised.

    Args:
        short: Short side of what the network gets, in pixels; the long one is at most 1333 / 800 of it.
        multiple: Of both sides, in pixels.
        channels: 3, or 1 for grey.
        mean, std: Per channel, on the scale 0..1.
    """

    short: int
    multiple: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    background = WHITE

    @classmethod
    def of_data(cls, data: Any) -> "SceneSeeing":
        """That of a data module's test images; of arrays, whose images have one size, any multiple will do."""
        mean, std = tuple(data.mean), tuple(data.std)
        if hasattr(data, "test_scale"):
            return cls(data.test_scale, data.multiple, data.channels, mean, std)
        short = int(np.min(data.image_size))  # a side, or height and width
        return cls(short, 1, data.channels, mean, std)

    def facts(self) -> dict[str, Any]:
        """The arguments, for a run record."""
        return asdict(self)

    def picture(self, picture: Picture) -> Tensor:
        """Turn an opened image into what the network gets: (C, H, W) float32."""
        image: Image.Image = picture.rgb()
        seen, _, _ = WholeScene(self.short, self.multiple)(image, torch.zeros(0, 4))
        return normalised(as_channels(seen, self.channels), self.mean, self.std)

    def to_file(self, width: int, height: int) -> np.ndarray:
        """(3, 3), from shares of the input's sides to pixels of the upright image of that size."""
        return np.diag([float(width), float(height), 1.0])


AnySeeing = Seeing | SceneSeeing | SquareSeeing


def seeing_of_facts(facts: Mapping[str, Any]) -> AnySeeing:
    """What `facts()` of any of them wrote down."""
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
    if "side" in facts:
        return SquareSeeing(**given)
    return SceneSeeing(**given) if "short" in facts else Seeing.of_facts(facts)


def seeing_of_data(data: Any) -> AnySeeing:
    """How a data module's test images are seen."""
    if hasattr(data, "masked"):
        return SquareSeeing.of_data(data)
    return SceneSeeing.of_data(data) if hasattr(data, "scenes") else Seeing.of_data(data)


def fitting(seeing: Seeing | SceneSeeing, multiple: int) -> Seeing | SceneSeeing:
    """The same, with sides that are also multiples of what a network needs; of squares nothing changes."""
    if isinstance(seeing, Seeing):
        return seeing
    return replace(seeing, multiple=math.lcm(seeing.multiple, multiple))
