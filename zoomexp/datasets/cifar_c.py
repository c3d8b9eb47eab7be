"""CIFAR-10-C and -100-C (Hendrycks and Dietterich 2019, arXiv 1903.12261): the test images with common corruptions.

Public layout `<data_dir>/CIFAR-10-C/<kind>.npy`, (50000, 32, 32, 3) uint8: the 10,000 test images at severity 1, then 2
to 5; and `labels.npy`. Training and validation images are CIFAR's own. Nothing is downloaded.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.arguments import one_of
from zoomexp.datasets.arrays import ImageArrays, Splits, checked_part
from zoomexp.datasets.cifar import CIFAR10, CIFAR100
from zoomexp.errors import InputError
from zoomexp.robustness.corruptions import KINDS, SEVERITIES

SPARE = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # the authors' for choosing by, in no mean


class CIFAR10C(CIFAR10):
    """CIFAR-10, tested on corrupted images.

    Args:
        kind: of corruption; "all": the fifteen, one after the other, so that accuracy is their mean.
        severity: 1 to 5; None: all five.
        **common: as in `ArrayDataModule`.
    """

    name = "cifar10_c"
    folder = "CIFAR-10-C"
    home = "https://zenodo.org/records/2535967"

    def __init__(self, *, kind: str = "all", severity: int | None = None, **common: Any) -> None:
        super().__init__(**common)
        one_of("dataset.kind", kind, ("all", *KINDS, *SPARE))
        one_of("dataset.severity", severity, (None, *SEVERITIES))
        self.kind, self.severity = kind, severity

    def read(self) -> Splits:
        """Return CIFAR's training images and the corrupted test images.

        Raises:
            InputError: either is not there or damaged.
        """
        clean = super().read()
        root = self.data_dir / self.folder
        parts = [self._part(root, kind, len(clean.classes)) for kind in (KINDS if self.kind == "all" else (self.kind,))]
        images, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "labels"))
        return replace(clean, test=ImageArrays(images, labels))

    def _part(self, root: Path, kind: str, classes: int) -> ImageArrays:
        images, labels = (self._array(root / f"{name}.npy") for name in (kind, "labels"))
        whole = checked_part(root / f"{kind}.npy", kind, images, labels, classes)
        if len(whole) % len(SEVERITIES):
            raise InputError(f"{root / kind}.npy is damaged: {len(whole)} images are not as many of each severity")
        size = len(whole) // len(SEVERITIES)
        chosen = slice(None) if self.severity is None else slice((self.severity - 1) * size, self.severity * size)
        return ImageArrays(whole.images[chosen], whole.labels[chosen])

    def _array(self, path: Path) -> np.ndarray:
        if not path.is_file():
            raise InputError(f"dataset={self.name}: {path} is missing; it is to be had at {self.home}")
        try:
            found: np.ndarray = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} is damaged: it cannot be read; get it again from {self.home}") from error
        return found


class CIFAR100C(CIFAR10C, CIFAR100):
    """CIFAR-100, tested on corrupted images."""

    name = "cifar100_c"
    folder = "CIFAR-100-C"
    home = "https://zenodo.org/records/3555552"
