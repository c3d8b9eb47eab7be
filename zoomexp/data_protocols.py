"""What data modules may say of themselves to others, written down; see `protocols` for networks and losses."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard


class RunData(Protocol):
    """A data module that has been set up, as a run reads it; `trainer`, if it has one, says how images are shared.

    `image_size` is a side in pixels, or height and width.
    """

    batch_size: int
    eval_batch_size: int
    drop_last: bool
    num_classes: int
    channels: int
    image_size: int | tuple[int, int]
    trainer: Any

    def train_dataloader(self) -> Any:
        """The shuffled batches of training images."""

    def val_dataloader(self) -> Any:
        """The batches of the images that validate; an empty list where there are none."""

    def test_dataloader(self) -> Any:
        """The batches of test images."""


class HasMaps(Protocol):
    """A data module whose batches hold a teacher's maps, `map` (B, S, S) in [0, 1]: `has_maps` is true."""

    has_maps: bool


def has_maps(data: object) -> bool:
    """Whether a data module's batches hold a teacher's maps; they do not unless it says so."""
    return getattr(data, "has_maps", False)


class HasDenseLabels(Protocol):
    """A data module whose training batches hold a teacher's labels of places: `has_dense_labels` is true."""

    has_dense_labels: bool


def has_dense_labels(data: object) -> bool:
    """Whether a data module's training batches hold labels of places; they do not unless it says so."""
    return getattr(data, "has_dense_labels", False)


class ListsImages(RunData, Protocol):
    """A data module of labelled images: what its splits hold is recorded, and files are named beside predictions.

    `part(split)` has the split's `labels` (N,) and `index` (N,), or is None; `classes` are their names.
    """

    classes: Sequence[str]

    def part(self, split: str) -> Any:
        """The images of "train", "val" or "test"."""


def lists_images(data: object) -> TypeGuard[ListsImages]:
    """Whether a data module says what its splits hold, and what it says is a label for each image."""
    return hasattr(data, "part") and not lists_masks(data)


class GivesPlainBatches(ListsImages, Protocol):
    """A data module that also gives any of a split's images, seen as test images are."""

    def plain_batches(self, part: str, positions: Any, batch_size: int) -> Iterable[Mapping[str, Any]]:
        """Batches of the images at `positions` (N,) in the split, in that order."""


class ShowsImages(GivesPlainBatches, Protocol):
    """A data module that says how its images became inputs: `mean` and `std` per channel, and what was cut and filled.

    `central_view`, and `background`, only where the images are files.
    """

    mean: Sequence[float]
    std: Sequence[float]
    background: tuple[int, int, int]
    interpolation: str

    def central_view(self) -> Any:
        """How test images are cut and resized."""


class ListsScenes(RunData, Protocol):
    """A data module of images with several objects: an image has no label of its own.

    What `scenes` gives may say what it holds: `counts` (N,), the objects of each image, and their `labels` (T,).
    """

    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]

    def scenes(self, name: str) -> Any:
        """The images of "train", "val" or "test"; None where nothing validates."""

    def scene_batches(self, name: str, positions: Any, batch_size: int) -> Iterable[Mapping[str, Any]]:
        """Batches of the images at `positions` (N,) in the split, in that order, seen as test images are."""


class VariesInSize(Protocol):
    """A data module whose images have several sizes, and so each its own work: `sizes_vary` is true."""

    sizes_vary: bool


def sizes_vary(data: object) -> bool:
    """Whether a data module's images have several sizes; they do not unless it says so."""
    return getattr(data, "sizes_vary", False)


class ListsMasks(RunData, Protocol):
    """A data module of images whose every pixel has a class, `pixel_label` (B, H, W) in its batches; 255: ignored."""

    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]

    def masked(self, name: str) -> Any:
        """The images of "train", "val" or "test"; None where nothing validates."""

    def mask_batches(self, name: str, positions: Any, batch_size: int) -> Iterable[Mapping[str, Any]]:
        """Batches of the images at `positions` (N,) in the split, in that order, seen as test images are."""


def lists_masks(data: object) -> TypeGuard[ListsMasks]:
    """Whether every pixel of a data module's images has a class."""
    return hasattr(data, "masked")


def lists_scenes(data: object) -> TypeGuard[ListsScenes]:
    """Whether a data module's images have several objects each."""
    return hasattr(data, "scenes")
