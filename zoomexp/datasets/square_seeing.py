"""How a segmenter sees an image that is not of its data set: all of it, as a square."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from zoomexp.datasets.picture import Picture
from zoomexp.datasets.pixels import WHITE
from zoomexp.datasets.seeing import as_channels, normalised
from zoomexp.datasets.views import WholeView


@dataclass(frozen=True)
class SquareSeeing:
    """All of an image, resized to a square of `side` pixels and normalised.

    Args:
        side: Of what the network gets, in pixels.
        channels: 3, or 1 for grey.
        mean, std: Per channel, on the scale 0..1.
        interpolation: One of `picture.KINDS`.
        background: Red, green and blue, 0..255, behind what is transparent.
    """

    side: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    background: tuple[int, int, int] = WHITE

    @classmethod
    def of_data(cls, data: Any) -> "SquareSeeing":
        """That of a data module's test images."""
        own = {name: getattr(data, name) for name in ("interpolation", "background") if hasattr(data, name)}
        return cls(data.image_size, data.channels, tuple(data.mean), tuple(data.std), **own)

    def facts(self) -> dict[str, Any]:
        """The arguments, for a run record."""
        return asdict(self)

    def picture(self, picture: Picture) -> Tensor:
        """Turn an opened image into what the network gets: (C, S, S) float32."""
        seen, _ = WholeView(self.side, interpolation=self.interpolation)(picture)
        return normalised(as_channels(seen, self.channels), self.mean, self.std)
