"""MNIST (LeCun et al. 1998): 60,000 training and 10,000 test images of handwritten digits, 28 x 28 pixels, grey."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np

from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import Splits, checked
from zoomexp.datasets.public import read_public
from zoomexp.errors import InputError

LAYOUT = "MNIST/raw"
HOME = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class MNIST(ArrayDataModule):
    """MNIST; arguments as in `ArrayDataModule`."""

    name = "mnist"

    def read(self) -> Splits:
        """Return the splits from mnist.npz or the four public files, packed (checked by MD5) or unpacked."""
        return read_public(self.name, self.data_dir, layout=LAYOUT, home=HOME, read=_read_layout, download=_download)


def _read_layout(folder: Path) -> Splits:
    raw = folder / LAYOUT
    train_images, train_labels, test_images, test_labels = (_read_idx(raw, name) for name in FILES)
    digits = np.array([str(digit) for digit in range(10)])
    return checked(raw, train_images[..., None], train_labels, test_images[..., None], test_labels, digits)


def _download(folder: Path) -> None:
    from torchvision import datasets

    datasets.MNIST(folder, download=True)


def _read_idx(raw: Path, name: str) -> np.ndarray:
    """Read `name`, or `name`.gz, under `raw`: three dimensions for images, one for labels, uint8.

    Raises:
        InputError: neither file is there, or it is damaged.
    """
    packed, plain = raw / f"{name}.gz", raw / name
    if packed.exists():
        _check_md5(packed)
        return _parse(packed, gzip.decompress(packed.read_bytes()))
    if plain.exists():
        return _parse(plain, plain.read_bytes())
    raise InputError(f"dataset=mnist: {packed} is missing; get it from {HOME}")


def _check_md5(packed: Path) -> None:
    from torchvision import datasets

    if not datasets.utils.check_md5(packed, dict(datasets.MNIST.resources)[packed.name]):
        raise InputError(f"{packed} is damaged: wrong checksum; get it again from {HOME}")


def _parse(path: Path, content: bytes) -> np.ndarray:
    """Parse the IDX format: 0, 0, 8 (unsigned byte), the number of dimensions, each as big-endian int32, the values."""
    dimensions = 3 if "idx3" in path.name else 1
    start = 4 + 4 * dimensions
    if content[:4] == bytes([0, 0, 8, dimensions]) and len(content) >= start:
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        if len(content) - start == math.prod(shape):
            return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
    raise InputError(f"{path} is damaged: not a whole IDX file; get it again from {HOME}")
