"""What data modules may say of themselves to others, written down; see `protocols` for networks and losses."""

from collections.abc import Sequence
from typing import Any, Protocol


class HasMaps(Protocol):
    """A data module whose batches hold a teacher's maps, `map` (B, S, S) in [0, 1]: `has_maps` is true."""

    has_maps: bool


def has_maps(data: object) -> bool:
    """Whether a data module's batches hold a teacher's maps; they do not unless it says so."""
    return getattr(data, "has_maps", False)


class ListsImages(Protocol):
    """A data module of labelled images: what its splits hold is recorded, and files are named beside predictions.

    `part(split)` has the split's `labels` (N,) and `index` (N,), or is None; `classes` are their names.
    """

    classes: Sequence[str]
    num_classes: int

    def part(self, split: str) -> Any:
        """The images of "train", "val" or "test"."""


def lists_images(data: object) -> bool:
    """Whether a data module says what its splits hold."""
    return hasattr(data, "part")


class ListsScenes(Protocol):
    """A data module of images with several objects: an image has no label of its own."""

    classes: Sequence[str]
    num_classes: int

    def scenes(self, name: str) -> Any:
        """The images of "train", "val" or "test"; None where nothing validates."""


def lists_scenes(data: object) -> bool:
    """Whether a data module's images have several objects each."""
    return hasattr(data, "scenes")
