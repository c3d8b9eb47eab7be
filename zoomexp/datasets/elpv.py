"""ELPV (Buerhop-Lutz et al. 2018; Deitsch et al. 2019): electroluminescence images of solar cells, 300 x 300, grey.

The 2,624 images come with the package `elpv-dataset`. Each cell has a probability that it is defective, 0, 1/3, 2/3 or
1, and its kind, mono- or polycrystalline. There is no official split: the test split is held out (`test_fraction`), or
folds are.
"""

import importlib.util
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoomexp.arguments import one_of
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError

NAMES = {
    "defect": ("functional", "defective"),
    "probability": ("functional", "probably functional", "probably defective", "defective"),
}


class ELPV(StreamDataModule):
    """The cells; arguments and batches as in `StreamDataModule`. `data_dir` is not used: the package has the images.

    Args:
        target: "defect": two classes, defective from a probability of 2/3 on; "probability": the four probabilities.
        kind: "mono" or "poly": cells of this kind only; "all".
        **common: as in `StreamDataModule`.
    """

    name = "elpv"

    def __init__(
        self,
        *,
        target: Literal["defect", "probability"] = "defect",
        kind: Literal["all", "mono", "poly"] = "all",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        one_of("dataset.target", target, tuple(NAMES))
        one_of("dataset.kind", kind, ("all", "mono", "poly"))
        self.target, self.kind = target, kind

    def read(self) -> FileSplits:
        """Return all cells of the kind; no test split.

        Raises:
            InputError: the package is not installed, or its list is not as published.
        """
        root = package_folder()
        try:
            rows = [line.split() for line in (root / "labels.csv").read_text().splitlines() if line.strip()]
            paths, chances, kinds = (np.array(column) for column in zip(*rows, strict=True))
            levels = np.round(3 * chances.astype(np.float64)).astype(np.int64)
        except (OSError, ValueError) as error:
            raise InputError(
                f"dataset=elpv: {root}/labels.csv is not as published; install elpv-dataset again"
            ) from error
        chosen = np.flatnonzero((kinds == self.kind) | (self.kind == "all"))
        labels = levels if self.target == "probability" else levels // 2
        files = ImageFiles(root, np.char.encode(paths[chosen]), labels[chosen])
        return FileSplits(files, None, None, NAMES[self.target])


def package_folder() -> Path:
    """Return the folder with the package's images.

    Raises:
        InputError: it is not installed.
    """
    found = importlib.util.find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise InputError("dataset=elpv: the images come with a package: pip install 'zoomexp[data]' or elpv-dataset")
    return Path(found.origin).parent / "data"
