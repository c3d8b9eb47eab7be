"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 training and 10,000 test images, 32 x 32 pixels, colour."""

from pathlib import Path

import numpy as np

from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import Splits, checked
from zoomexp.datasets.public import read_public
from zoomexp.errors import InputError

HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"


class CIFAR10(ArrayDataModule):
    """CIFAR-10; arguments as in `ArrayDataModule`."""

    name = "cifar10"
    cache = "cifar10"  # of the array cache
    layout = "cifar-10-batches-py"
    torchvision_name = "CIFAR10"

    def read(self) -> Splits:
        """Return the splits from cifar10.npz or the public Python version (torchvision checks its MD5 sums)."""
        places = {"layout": self.layout, "home": HOME}
        return read_public(self.cache, self.data_dir, read=self._read_layout, download=self._download, **places)

    def _read_layout(self, folder: Path) -> Splits:
        from torchvision import datasets

        dataset = getattr(datasets, self.torchvision_name)
        try:
            train, test = dataset(folder, train=True), dataset(folder, train=False)
        except RuntimeError as error:
            raise InputError(f"{folder / self.layout} is damaged: wrong checksum; unpack {HOME} again") from error
        images, labels = np.asarray(train.data), np.asarray(train.targets)
        tested, wanted = np.asarray(test.data), np.asarray(test.targets)
        return checked(folder / self.layout, images, labels, tested, wanted, np.array(train.classes))

    def _download(self, folder: Path) -> None:
        from torchvision import datasets

        getattr(datasets, self.torchvision_name)(folder, download=True)


class CIFAR100(CIFAR10):
    """CIFAR-100 with its 100 fine labels; arguments as in `ArrayDataModule`."""

    name = "cifar100"
    cache = "cifar100"
    layout = "cifar-100-python"
    torchvision_name = "CIFAR100"
