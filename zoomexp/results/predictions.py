"""What a run said of each test image: `predictions.npz`, written whole and read when it is asked for.

Every array has a row for each test image, in the order of the index. Where an image has several objects, an array holds
the rows of all its objects one image after the other, and `<name>.lengths`, (N,), how many each image has.
"""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from zoomexp.atomic_file import atomic_file
from zoomexp.results.statistics import draws_of_images

FILE, LENGTHS = "predictions.npz", ".lengths"
Measure = Callable[["Predictions"], float]


@runtime_checkable
class Counted(Protocol):
    """A measure that needs no copy of the images where they count several times, or not at all."""

    def __call__(self, predictions: "Predictions", /) -> float:
        """Of all images, each once."""

    def counted(self, predictions: "Predictions", /) -> Callable[[np.ndarray], float]:
        """From how often each image counts, (N,), to the measure."""


class Predictions(Mapping[str, np.ndarray]):
    """The arrays by name.

    Args:
        arrays: by name, or the file that holds them; one that is not there, or was cut short, holds none.

    >>> ragged = Predictions({"hit": np.array([1, 0, 1]), "hit.lengths": np.array([2, 1])})
    >>> ragged.drawn(np.array([1, 1, 0]))["hit"].tolist()
    [1, 1, 1, 0]
    """

    def __init__(self, arrays: Mapping[str, np.ndarray] | Path) -> None:
        self._given = arrays
        self._redrawn: dict[Measure, np.ndarray] = {}

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        if not isinstance(self._given, Path):
            return dict(self._given)
        if not zipfile.is_zipfile(self._given):  # also: cut short
            return {}
        with np.load(self._given, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
        if (
            "acc1" not in found and {"top1", "label"} <= found.keys()
        ):  # files from before outcomes had a quantity's name
            found["acc1"] = found["top1"] == found["label"]
        if "acc1" in found:
            found["error1"] = ~found["acc1"].astype(bool)  # what `derived` makes of it
        return found

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def images(self) -> int:
        """N."""
        whole = [values for name, values in self.items() if f"{name}{LENGTHS}" not in self]
        return len(whole[0]) if whole else 0

    def drawn(self, images: np.ndarray) -> "Predictions":
        """Those of chosen images, (M,) places in the order of the index; one may be chosen several times."""
        return Predictions({name: self._rows(name, images) for name in self})

    def redrawn(self, measure: Measure) -> np.ndarray:
        """A measure of all images, then of each draw of `draws_of_images`: (1 + D,). Found once, and kept."""
        if measure not in self._redrawn:
            values: Iterator[float]
            if isinstance(measure, Counted):
                of_counts = measure.counted(self)
                values = (
                    of_counts(np.bincount(images, minlength=self.images)) for images in draws_of_images(self.images)
                )
            else:
                values = (measure(self.drawn(images)) for images in draws_of_images(self.images))
            self._redrawn[measure] = np.array([measure(self), *values], dtype=float)
        return self._redrawn[measure]

    def _rows(self, name: str, images: np.ndarray) -> np.ndarray:
        values, lengths = self[name], self.get(f"{name}{LENGTHS}")
        if lengths is None:
            return values[images]
        starts, chosen = np.cumsum(lengths) - lengths, lengths[images]
        within = np.arange(chosen.sum()) - np.repeat(np.cumsum(chosen) - chosen, chosen)
        return values[np.repeat(starts[images], chosen) + within]


def save_predictions(arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write `folder/predictions.npz`, the images in the order of their `index`."""
    ordered = Predictions(arrays).drawn(np.argsort(arrays["index"], kind="stable"))
    content = io.BytesIO()
    kept: dict[str, Any] = {name: ordered[name] for name in arrays}
    np.savez_compressed(content, **kept)
    with atomic_file(folder / FILE) as partial:
        partial.write_bytes(content.getbuffer())
