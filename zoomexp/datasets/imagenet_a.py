"""ImageNet-A (Hendrycks et al. 2021, arXiv 1907.07174): 7,500 photographs, chosen because ResNet-50 misses them.

The public layout `<data_dir>/imagenet-a/<wnid>/*.jpg`: 200 of ImageNet's classes, a test split alone. Labels are places
among ImageNet's 1,000 classes, so that a network trained on ImageNet is tested as it is (`evaluate=start`).

Accuracy is that of all 1,000 logits, since the ZoomViT paper (tables 6 and 13) names no other. The data set's authors
look at the logits of its 200 classes alone, which never gives less.
"""

from pathlib import Path

import numpy as np
from timm.data import ImageNetInfo

from zoomexp.datasets.archives import fetch
from zoomexp.datasets.class_folders import ClassFolders, read_class_folders
from zoomexp.datasets.image_files import FileSplits
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.datasets.stream_loader import StreamLoader
from zoomexp.errors import InputError

LAYOUT = "imagenet-a"
URL = "https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar"
MD5 = "c3e55429088dc681f30d81f4726b6595"


class ImageNetA(StreamDataModule):
    """The test images; arguments and batches as in `StreamDataModule`. No image trains or validates."""

    name = "imagenet_a"
    layout = LAYOUT
    home = URL
    counts = (200, 7500)  # classes that have images, and images

    def read(self) -> FileSplits:
        """Return the test split, beside an empty training split; the archive (0.7 GB) is downloaded if need be."""
        root, wnids = self.data_dir / self.layout, ImageNetInfo().label_names()
        if not root.is_dir():
            self.bring()
        found = self._whole(root)
        if foreign := sorted(folder for folder in found.images if self.wnid_of(folder, wnids) not in wnids):
            raise InputError(f"dataset={self.name}: {root}/{foreign[0]} is none of ImageNet's 1,000 classes (wnid)")
        known = {self.wnid_of(folder, wnids): images for folder, images in found.images.items()}
        test = ClassFolders(root, known).files(wnids)
        return FileSplits(test.take(np.arange(0)), None, test, tuple(wnids), found.passed_over)

    def bring(self) -> None:
        """Download the data set.

        Raises:
            InputError: it cannot be downloaded.
        """
        fetch(self.name, self.home, MD5, self.data_dir, self.layout)

    def wnid_of(self, folder: str, wnids: list[str]) -> str:
        """Return the class of a folder; any other text where it is none.

        Args:
            folder: its name.
            wnids: of ImageNet's classes, in the order of their labels.
        """
        return folder

    def train_dataloader(self) -> StreamLoader:
        """Refuse: there is nothing to train on."""
        raise InputError(f"dataset={self.name} has no training images; test a model with evaluate=start")

    def _whole(self, root: Path) -> ClassFolders:
        """Return what is in the class folders, once all images are there."""
        read = read_class_folders(root)
        found = (sum(map(bool, read.images.values())), sum(map(len, read.images.values())))
        if found != self.counts:
            has, should = (f"{number:,} images of {classes} classes" for classes, number in (found, self.counts))
            raise InputError(f"dataset={self.name}: {root} has {has}, not {should}; unpack it again ({self.home})")
        return read
