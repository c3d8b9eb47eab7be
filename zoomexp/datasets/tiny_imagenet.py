"""TinyImageNet (Stanford CS231n): 100,000 training and 10,000 test images of 200 ImageNet classes, 64 x 64, colour.

The public test split has no labels: the public validation split is the test split here, and validation images are held
out of the training images.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.datasets.archives import download_archive
from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import ImageArrays, Splits, checked
from zoomexp.datasets.holdout import hold_out
from zoomexp.datasets.picture import open_picture
from zoomexp.datasets.public import read_public
from zoomexp.errors import InputError

LAYOUT = "tiny-imagenet-200"
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
TEST_FRACTION, SPLIT_SEED = 0.2, 0  # of the validation images, where they are all there is


class TinyImageNet(ArrayDataModule):
    """TinyImageNet.

    Args:
        train_from: "train"; or "val": only the public validation images are used, 40 a class to train and 10 a class to
            test, always the same ones. That is another, far smaller data set under the same class names: its results
            are not comparable with any published ones, or with those of "train".
        **common: as in `ArrayDataModule`.
    """

    name = "tiny_imagenet"

    def __init__(self, *, train_from: str = "train", **common: Any) -> None:
        super().__init__(**common)
        if train_from not in ("train", "val"):
            raise InputError(f"dataset.train_from={train_from} is unknown; train or val")
        self.train_from = train_from

    def read(self) -> Splits:
        """Return the splits from the array cache, the public layout, or the downloaded archive (checked by MD5)."""
        if self.train_from == "train":
            return self._public(self.name, read_layout)
        cache = f"{self.name}_val"
        if (self.data_dir / f"{cache}.npz").exists() or (self.data_dir / LAYOUT).is_dir():
            return self._public(cache, read_val_layout)
        whole = self._public(self.name, read_layout)
        return split_val(whole.test, whole.classes)

    def _public(self, cache: str, read: Callable[[Path], Splits]) -> Splits:
        def download(folder: Path) -> None:
            download_archive(URL, MD5, folder)

        return read_public(cache, self.data_dir, layout=LAYOUT, home=URL, read=read, download=download)


def read_layout(folder: Path) -> Splits:
    """Read the public layout under `folder`: `train` for training, `val` for the test.

    Raises:
        InputError: it is not whole.
    """
    root = folder / LAYOUT
    if not (root / "train").is_dir():
        other = "or use the validation images alone, another data set: dataset.train_from=val"
        raise InputError(f"dataset=tiny_imagenet: {root / 'train'} is missing; unpack {URL} again, {other}")
    wnids = read_wnids(root)
    files = [sorted((root / "train" / wnid / "images").glob("*.JPEG")) for wnid in wnids]
    train = read_images(root / "train", [file for some in files for file in some],
                        [label for label, some in enumerate(files) for _ in some], len(wnids))  # fmt: skip
    test = read_val(root, wnids)
    return checked(root, train.images, train.labels, test.images, test.labels, names(root, wnids))


def read_val_layout(folder: Path) -> Splits:
    """Read only `val` of the public layout under `folder`, split by `split_val`."""
    root = folder / LAYOUT
    wnids = read_wnids(root)
    return split_val(read_val(root, wnids), tuple(names(root, wnids).tolist()))


def split_val(images: ImageArrays, classes: tuple[str, ...]) -> Splits:
    """Split the validation images, a fifth of each class for the test, the same fifth every time."""
    train, test = hold_out(images, TEST_FRACTION, SPLIT_SEED)
    assert test is not None  # a fifth of them
    train, test = (ImageArrays(part.images, part.labels) for part in (train, test))
    return Splits(train, test, classes)


def read_val(root: Path, wnids: list[str]) -> ImageArrays:
    """Read the validation images, labelled by val_annotations.txt."""
    path, numbers = root / "val" / "val_annotations.txt", {wnid: label for label, wnid in enumerate(wnids)}
    lines = [line.split("\t") for line in read_lines(path)]
    if wrong := [number for number, line in enumerate(lines, 1) if len(line) < 2 or line[1] not in numbers]:
        raise damaged(path, f"line {wrong[0]} is not an image and a class of wnids.txt")
    files = [root / "val" / "images" / Path(line[0]).name for line in lines]
    return read_images(root / "val", files, [numbers[line[1]] for line in lines], len(wnids))


def read_images(split: Path, files: Sequence[Path], labels: Sequence[int], classes: int) -> ImageArrays:
    """Decode `files`, all of one size, into arrays.

    Raises:
        InputError: a class has fewer images than another (the public splits are balanced), or an image is missing,
            damaged or of another size.
    """
    counts = np.bincount(np.array(labels, np.int64), minlength=classes)
    if counts.min() != counts.max() or counts.max() == 0:
        raise damaged(split, f"it has {counts.min()} to {counts.max()} images a class, not as many of each")
    images = None
    for place, path in enumerate(files):
        with open_picture(path) as picture:
            pixels = np.asarray(picture.rgb())
        images = np.empty((len(files), *pixels.shape), np.uint8) if images is None else images
        if pixels.shape != images.shape[1:]:
            raise damaged(path, f"it is {pixels.shape[1]} x {pixels.shape[0]} pixels, unlike the others")
        images[place] = pixels
    assert images is not None  # there are some of every class
    return ImageArrays(images, np.array(labels, np.int64))


def read_wnids(root: Path) -> list[str]:
    """Return the classes' WordNet ids, in label order."""
    wnids = [line.strip() for line in read_lines(root / "wnids.txt")]
    if len(set(wnids)) != len(wnids):
        raise damaged(root / "wnids.txt", "a class stands in it twice")
    return wnids


def names(root: Path, wnids: list[str]) -> np.ndarray:
    """Return the classes' names (K,) str: the first word for it in words.txt, or the WordNet id without one."""
    words = dict(line.split("\t", 1) for line in read_lines(root / "words.txt") if "\t" in line)
    return np.array([words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids])


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank.

    Raises:
        InputError: there are none, or it cannot be read.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise damaged(path, "it cannot be read") from error
    if not lines:
        raise damaged(path, "it is empty")
    return lines


def damaged(path: Path, reason: str) -> InputError:
    """Return the error for a part of the layout that cannot be right."""
    return InputError(f"{path} is missing or damaged: {reason}; unpack {URL} again")
