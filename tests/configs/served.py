"""What a data module serves of stand-in images: its splits, and every image of an epoch as a network gets it."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image

from tests.configs.described import described
from tests.datasets.test_coco import layout
from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import ImageArrays, Splits
from zoomexp.datasets.cluttered_digits import ClutteredDigits
from zoomexp.datasets.coco import COCO
from zoomexp.datasets.digit_canvas import DigitCanvas
from zoomexp.datasets.digits import Digits
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.imagenet_a import ImageNetA

CLASSES = ("a", "b", "c")
LABELS = np.array([0] * 12 + [1] * 8 + [2] * 4)
TEST_LABELS = LABELS[::2]


def served(data: pl.LightningDataModule, *, bad: bool = False, tested: bool = True) -> Any:
    """Splits and batches.

    Args:
        data: not set up; data sets that need no files read their own.
        bad: whether one of the files cannot be read.
        tested: whether the set comes with a test split.
    """
    if isinstance(data, COCO):
        data.data_dir = coco()
    elif not isinstance(data, Digits | ClutteredDigits | DigitCanvas):
        array = isinstance(data, ArrayDataModule)
        data.read = (lambda: arrays(len(data.mean))) if array else (lambda: files(type(data), bad, tested))
    data.prepare_data()
    data.setup()
    part = next(getattr(data, name) for name in ("scenes", "masked", "part") if hasattr(data, name))
    parts = [one for one in map(part, ("train", "val", "test")) if one is not None]
    kept = [(len(one), getattr(one, "index", None), getattr(one, "labels", None)) for one in parts]
    loaders = [data.val_dataloader(), data.test_dataloader()]
    if not isinstance(data, ImageNetA):
        loaders.append(data.train_dataloader())
        loaders[-1].sampler.set_epoch(0)
    workers = [getattr(loader, "num_workers", 0) for loader in loaders]
    batches = [] if any(workers) else [list(loader) for loader in loaders]
    return described([kept, workers, batches, getattr(data, "notes", ()), getattr(data, "passed_over", {})])


def arrays(channels: int) -> Splits:
    rng = np.random.default_rng(0)
    train, test = (
        ImageArrays(rng.integers(0, 256, (len(labels), 12, 12, channels), dtype=np.uint8), labels)
        for labels in (LABELS, TEST_LABELS)
    )
    return Splits(train, test, CLASSES)


def files(kind: type, bad: bool, tested: bool) -> FileSplits:
    root = folder()
    names = [f"{number}.png" for number in range(len(LABELS))] + (["bad.png"] if bad else [])
    labels = np.append(LABELS, 0) if bad else LABELS
    train = ImageFiles(root, np.char.encode(names), labels)
    copies = ["0.png", *(f"{number}.png" for number in range(30, 30 + len(TEST_LABELS) - 1))]  # one is in train, too
    test = ImageFiles(root, np.char.encode(copies), TEST_LABELS)
    if kind is ImageNetA:
        train = train.take(np.arange(0))
        test = ImageFiles(root, np.char.encode([*copies, "bad.png"]), np.append(TEST_LABELS, 0)) if bad else test
    return FileSplits(train, None, test if tested else None, CLASSES)


@cache
def folder() -> Path:
    """Images of several sizes, every third one transparent in places."""
    root = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    for number in range(45):
        pixels = rng.integers(0, 256, (20 + number % 3, 24, 4 if number % 3 == 0 else 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    (root / "bad.png").write_bytes(b"no image")
    return root


@cache
def coco() -> Path:
    """A set in COCO's format."""
    return layout(Path(tempfile.mkdtemp()), images=20)
