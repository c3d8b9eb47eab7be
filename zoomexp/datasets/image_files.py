"""Labelled images that stay on disk: where they lie and what is known of them."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files with their labels; `hold_out` and `shortened` take these as they take arrays.

    Attributes:
        root: the folder that `paths` start from.
        paths: (N,) bytes, as `os.fsencode` makes them: a million names as Python strings fork and pickle badly.
        labels: (N,) int64, class indices from 0.
        boxes: (N, 4) float32, the object's x0, y0, x1, y1 in pixel edges of the image as stored, before EXIF turns it;
            None where unknown.
        parts: (N, P, 3) float32, each part's x, y in the same pixels, and 1 where it is visible; None where unknown.
        index: (N,) int64, each image's position in the split it was taken from; by default 0..N-1.
        groups: (N,) int64, images of the same group never fall into two parts; None where each is for itself.
        masks: (N,) bytes like `paths`, where each image's mask lies below `mask_root`, b"" without one; None: none has.
        mask_root: the folder that `masks` start from.
        label_sets: (N, R) int64, all classes of each image, rows filled with -1; None where `labels` say all.
    """

    root: Path
    paths: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray | None = None
    parts: np.ndarray | None = None
    index: np.ndarray = None  # type: ignore[assignment]  # see __post_init__
    groups: np.ndarray | None = None
    masks: np.ndarray | None = None
    mask_root: Path | None = None
    label_sets: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.index is None:
            object.__setattr__(self, "index", np.arange(len(self.labels)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: np.ndarray) -> "ImageFiles":
        """Return the images at positions `chosen` (M,), which keep their `index`."""
        names = ("paths", "labels", "boxes", "parts", "index", "groups", "masks", "label_sets")
        known: dict[str, Any] = {
            name: None if (all_ := getattr(self, name)) is None else all_[chosen] for name in names
        }
        return ImageFiles(self.root, **known, mask_root=self.mask_root)

    def joined(self, other: "ImageFiles") -> "ImageFiles":
        """Return the images of both, numbered anew from 0; `other` knows of its images what this one does."""
        root = Path(os.path.commonpath([self.root, other.root]))
        paths = [os.fsencode(one.path(i).relative_to(root)) for one in (self, other) for i in range(len(one))]
        both = {name: (getattr(self, name), getattr(other, name)) for name in ("boxes", "parts", "groups", "masks")}
        known: dict[str, Any] = {
            name: None if any(one is None for one in two) else np.concatenate(two) for name, two in both.items()
        }
        labels = np.concatenate([self.labels, other.labels])
        return ImageFiles(root, np.array(paths), labels, **known, mask_root=self.mask_root)

    def fingerprint(self) -> str:
        """Return 12 hex digits of the files' names, in their order, and their labels; their pixels are not read."""
        digest = hashlib.sha256(b"\0".join(self.paths.tolist()))
        digest.update(np.ascontiguousarray(self.labels).data)
        if self.label_sets is not None:
            digest.update(np.ascontiguousarray(self.label_sets).data)
        return digest.hexdigest()[:12]

    def name(self, position: int) -> str:
        """Return the name of the image at `position`, its path below `root`; bytes that are no text are escaped."""
        name: bytes = self.paths[position]
        return name.decode(errors="backslashreplace")

    def path(self, position: int) -> Path:
        """Return where the image at `position` lies."""
        return self.root / os.fsdecode(self.paths[position])

    def mask_path(self, position: int) -> Path | None:
        """Return where the mask of the image at `position` lies; None where it has none."""
        if self.masks is None or self.mask_root is None or not self.masks[position]:
            return None
        return self.mask_root / os.fsdecode(self.masks[position])


@dataclass(frozen=True, eq=False)
class FileSplits:
    """A data set: its images, `val` and `test` only where it comes with such a split, its classes in label order.

    `passed_over` are files that were found beside the images, by name, each with the reason; `notes` say what else the
    user has to know.
    """

    train: ImageFiles
    val: ImageFiles | None
    test: ImageFiles | None
    classes: tuple[str, ...]
    passed_over: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
