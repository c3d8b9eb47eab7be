"""What a data set of images with masks was found to hold: images of each split, and pixels where they are in memory."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoomexp.datasets.inventory import LISTED, NAMED


@dataclass(frozen=True)
class MaskInventory:
    """What a data set holds.

    Attributes:
        classes: their names, in label order.
        images: how many, by split.
        pixels: of each class, in label order, by split; only of those that are in memory.
        passed_over: the reason for each file that is not used, by name.
        notes: what else is to be known.
    """

    classes: tuple[str, ...]
    images: Mapping[str, int]
    pixels: Mapping[str, tuple[int, ...]]
    passed_over: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """All of it in a line."""
        names = f"data: {len(self.classes)} classes of pixels"
        names += f" ({', '.join(self.classes)})" if len(self.classes) <= LISTED else ""
        splits = ", ".join(f"{name} {count:,} images" for name, count in self.images.items())
        left = [f"passed over {len(self.passed_over):,}: {', '.join(list(self.passed_over)[:NAMED])}"] * bool(
            self.passed_over
        )
        return "; ".join([names, splits, *left, *self.notes]).replace("\n", "\\n").replace("\r", "\\r")

    def summary(self) -> dict[str, Any]:
        """What stands in a run's record: classes, images by split."""
        return {"classes": len(self.classes), "images": dict(self.images),
                "passed_over": dict(Counter(self.passed_over.values())), "notes": list(self.notes)}  # fmt: skip

    def full(self) -> dict[str, Any]:
        """All of it, by name."""
        pixels = {name: dict(zip(self.classes, counts, strict=True)) for name, counts in self.pixels.items()}
        splits = {name: {"images": count} | ({"pixels": pixels[name]} if name in pixels else {})
                  for name, count in self.images.items()}  # fmt: skip
        return {"classes": list(self.classes), "splits": splits, "passed_over": dict(self.passed_over),
                "notes": list(self.notes)}  # fmt: skip


def mask_inventory_of(data: Any) -> MaskInventory:
    """The inventory of a data module with masks that has been set up."""
    parts = {name: part for name in ("train", "val", "test") if (part := data.masked(name)) is not None}
    held = {name: part.masks for name, part in parts.items() if getattr(part, "images", None) is not None}
    pixels = {
        name: tuple(np.bincount(masks.ravel(), minlength=data.num_classes)[: data.num_classes].tolist())
        for name, masks in held.items()
    }
    sizes = {name: len(part) for name, part in parts.items()}
    return MaskInventory(
        tuple(data.classes), sizes, pixels, getattr(data, "passed_over", {}), getattr(data, "notes", ())
    )
