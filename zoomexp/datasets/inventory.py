"""What a data set was found to hold: images of each split and class, and what was passed over."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

LISTED = 6  # of more classes, only the least and the most images a class are said in the line
NAMED = 3  # files that are passed over for one reason, by name in the line


@dataclass(frozen=True)
class Inventory:
    """What a data set holds.

    Attributes:
        classes: their names, in label order.
        images: images of each class, in label order, by split.
        passed_over: the reason for each file that is not used, by name.
        notes: what else is to be known, for example what is tested on.
    """

    classes: tuple[str, ...]
    images: Mapping[str, tuple[int, ...]]
    passed_over: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """All of it in a line."""
        splits = ", ".join(f"{name} {sum(counts):,} ({self._spread(counts)})" for name, counts in self.images.items())
        line = "; ".join([f"data: {len(self.classes):,} classes; {splits}", self._passed_over(), *self.notes])
        return line.replace("\n", "\\n").replace("\r", "\\r")  # names of files may have line breaks

    def summary(self) -> dict[str, Any]:
        """What stands in a run's record: classes, images by split, files passed over by reason."""
        totals = {name: sum(counts) for name, counts in self.images.items()}
        return {"classes": len(self.classes), "images": totals, "passed_over": dict(self._reasons()),
                "notes": list(self.notes)}  # fmt: skip

    def full(self) -> dict[str, Any]:
        """All of it, by name."""
        images = {name: dict(zip(self.classes, counts, strict=True)) for name, counts in self.images.items()}
        return {"classes": list(self.classes), "images": images, "passed_over": dict(self.passed_over),
                "notes": list(self.notes)}  # fmt: skip

    def _spread(self, counts: tuple[int, ...]) -> str:
        if len(counts) > LISTED:
            return f"{min(counts):,} to {max(counts):,} a class"
        return ", ".join(f"{name} {count:,}" for name, count in zip(self.classes, counts, strict=True))

    def _passed_over(self) -> str:
        if not self.passed_over:
            return "no file passed over"
        reasons = [self._reason(why, count) for why, count in self._reasons().most_common()]
        return f"passed over {len(self.passed_over):,}: {', '.join(reasons)}"

    def _reason(self, why: str, count: int) -> str:
        names = [name for name, reason in self.passed_over.items() if reason == why]
        return f"{count:,} {why} ({', '.join(names[:NAMED])}{', ...' * (count > NAMED)})"

    def _reasons(self) -> Counter[str]:
        return Counter(self.passed_over.values())


def inventory_of(data: Any) -> Inventory:
    """The inventory of a data module that has been set up."""
    parts = {name: data.part(name) for name in ("train", "val", "test")}
    images = {
        name: tuple(np.bincount(part.labels, minlength=data.num_classes).tolist())
        for name, part in parts.items()
        if part is not None
    }
    known = getattr(data, "passed_over", {}), getattr(data, "notes", ())
    return Inventory(tuple(data.classes), images, *known)
