"""What a data set of scenes was found to hold: images and objects of each split, and what was left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoomexp.datasets.inventory import LISTED
from zoomexp.datasets.scene_files import SceneFiles


@dataclass(frozen=True)
class HeldScenes:
    """What a split holds.

    Attributes:
        images: how many.
        empty: those of them without an object, crowds not counted.
        crowds: regions of many objects.
        objects: of each class, in label order, crowds left out.
    """

    images: int
    empty: int
    crowds: int
    objects: tuple[int, ...]


@dataclass(frozen=True)
class SceneInventory:
    """What a data set holds.

    Attributes:
        classes: their names, in label order; "" where there is none of that number.
        splits: by name.
        notes: what else is to be known, for example which boxes were left out.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, HeldScenes]
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """All of it in a line."""
        classes = f"data: {sum(map(bool, self.classes)):,} classes"
        splits = ", ".join(f"{name} {self._told(held)}" for name, held in self.splits.items())
        return "; ".join([classes, splits, *self.notes]).replace("\n", "\\n").replace("\r", "\\r")

    def summary(self) -> dict[str, Any]:
        """What stands in a run's record: classes, images and objects by split, what was left out."""
        return {
            "classes": sum(map(bool, self.classes)),
            "images": {name: held.images for name, held in self.splits.items()},
            "objects": {name: sum(held.objects) for name, held in self.splits.items()},
            "notes": list(self.notes),
        }

    def full(self) -> dict[str, Any]:
        """All of it, by name."""
        splits = {
            name: {"images": held.images, "without objects": held.empty, "crowds": held.crowds,
                   "objects": {word: n for word, n in zip(self.classes, held.objects, strict=True) if word}}
            for name, held in self.splits.items()
        }  # fmt: skip
        return {"classes": list(self.classes), "splits": splits, "notes": list(self.notes)}

    def _told(self, held: HeldScenes) -> str:
        named = [f"{word} {n:,}" for word, n in zip(self.classes, held.objects, strict=True) if word]
        objects = f"{sum(held.objects):,} objects" + (f": {', '.join(named)}" if len(named) <= LISTED else "")
        further = [f"{held.empty:,} images without any"] * bool(held.empty) + [f"{held.crowds:,} crowds"] * bool(
            held.crowds
        )
        return f"{held.images:,} images ({', '.join([objects, *further])})"


def scene_inventory_of(data: Any) -> SceneInventory | None:
    """The inventory of a data module of scenes that has been set up; None where they do not say what they hold."""
    parts = {name: data.scenes(name) for name in ("train", "val", "test")}
    found = {name: _held(part, data.num_classes) for name, part in parts.items() if part is not None}
    splits = {name: held for name, held in found.items() if held is not None}
    return SceneInventory(tuple(data.classes), splits, getattr(data, "notes", ())) if splits else None


def _held(part: Any, classes: int) -> HeldScenes | None:
    if isinstance(part, SceneFiles):
        counts, labels, crowd = part.held()
    elif hasattr(part, "counts") and hasattr(part, "labels"):
        counts, labels, crowd = part.counts, part.labels, np.zeros(len(part.labels), bool)
    else:
        return None
    image = np.repeat(np.arange(len(counts)), counts)[~crowd]
    objects = np.bincount(labels[~crowd], minlength=classes)
    empty = len(counts) - len(np.unique(image))
    return HeldScenes(len(counts), empty, int(crowd.sum()), tuple(objects.tolist()))
