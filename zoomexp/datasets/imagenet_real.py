"""ImageNet's validation images with the labels that were assessed anew: ReaL ("Are we done with ImageNet?", 2020).

Paper: Beyer et al. 2020, arXiv 2006.07159: all classes that human annotators see in an image, or none. The images are
`<data_dir>/ILSVRC/val/<wnid>/ILSVRC2012_val_<number>.JPEG`; the labels `<data_dir>/ILSVRC/real.json`, the authors' file
(github.com/google-research/reassessed-imagenet): a list of 50,000 lists of classes by the images' numbers. Where that
file is not there, they are those that timm comes with, which are the same.

All images are tested, so that `test/acc1` is the ordinary top-1 accuracy. `test/real_acc1` is over the 46,837 images
that have a ReaL label: a prediction counts if it is among them.
"""

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.imagenet import ImageNet
from zoomexp.datasets.imagenet_shifts import ImageNetShift
from zoomexp.errors import InputError

FILE = "real.json"
NAME = re.compile(rb"(?:.*/)?ILSVRC2012_val_(\d{8})\.\w+")
NONE = -1  # fills rows of fewer labels


class ImageNetReal(ImageNetShift):
    """The validation images as test images; batches also have `label_sets` (B, R) int64, rows filled with -1."""

    name = "imagenet_real"
    layout = "ILSVRC/val"
    home = "https://www.image-net.org/download.php"
    counts = (1000, 50000)

    def read(self) -> FileSplits:
        """Return the test split with its sets of labels.

        Raises:
            InputError: the images or the labels are not whole.
        """
        names = [f"ILSVRC/{name}" for name in ImageNet.split_names["test"]]
        self.layout = next((name for name in names if (self.data_dir / name).is_dir()), names[0])
        splits = super().read()
        assert splits.test is not None
        sets = self._sets(splits.test, read_labels(self.data_dir / "ILSVRC" / FILE, self.counts[1]))
        return replace(splits, test=replace(splits.test, label_sets=sets))

    def _sets(self, images: ImageFiles, labels: list[list[int]]) -> np.ndarray:
        """Return the labels of each image (N, R), by the number in its name."""
        found = [NAME.fullmatch(path) for path in images.paths.tolist()]
        for position, match in enumerate(found):
            if match is None or not 1 <= int(match[1]) <= len(labels):
                path = images.path(position)
                raise InputError(
                    f"dataset={self.name}: {path} is not called ILSVRC2012_val_<number>, 1 to {len(labels):,}, "
                    "by which ReaL's labels are listed"
                )
        own = [labels[int(match[1]) - 1] for match in found if match is not None]
        sets = np.full((len(own), max(1, *map(len, own))), NONE, np.int64)
        for row, classes in zip(sets, own, strict=True):
            row[: len(classes)] = classes
        return sets


def read_labels(path: Path, images: int) -> list[list[int]]:
    """Return the classes of each image, from a file or, where there is none, from timm.

    Args:
        path: of `real.json`.
        images: how many there have to be.

    Raises:
        InputError: the file does not hold so many lists of classes, 0 to 999.
    """
    shipped = files("timm.data") / "_info" / "imagenet_real_labels.json"
    try:
        found: Any = json.loads((path if path.exists() else shipped).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"dataset=imagenet_real: {path} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(found, list) or len(found) != images or not all(map(_are_classes, found)):
        raise InputError(f"dataset=imagenet_real: {path} must be a list of {images:,} lists of classes, 0 to 999")
    labels: list[list[int]] = found
    return labels


def _are_classes(found: Any) -> bool:
    return isinstance(found, list) and all(type(one) is int and 0 <= one < 1000 for one in found)
