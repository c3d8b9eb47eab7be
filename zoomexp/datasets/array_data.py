"""The data module of every small set: splits, subsets and loaders over arrays in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytorch_lightning as pl

from zoomexp.arguments import boolean, finite, integer, list_of, number, one_of
from zoomexp.datasets.arrays import ImageArrays, Splits
from zoomexp.datasets.holdout import check_validation, hold_out, shortened
from zoomexp.datasets.loader import ArrayLoader, share_of_batch

LEAST = {
    "batch_size": 1,
    "eval_batch_size": 1,
    "image_size": 1,
    "pad": 0,
    "crop_padding": 0,
    "crop_size": 1,
    "train_size": 1,
    "test_size": 1,
    "split_seed": 0,
    "seed": 0,
}


class ArrayDataModule(pl.LightningDataModule):
    """A data set of arrays; a subclass says how to `read` it. Only training images are augmented.

    Args:
        data_dir: folder that holds the data sets.
        batch_size: training images a batch, over all processes.
        drop_last: leave out an epoch's last training batch where it is not full; false keeps it, as many papers' code.
        eval_batch_size: images a batch in validation and test, per process.
        image_size: side of the images the model gets, in pixels; None: what the data and `crop_size` give.
        interpolation: how images are resized where `image_size` asks for it, "bilinear" or "bicubic".
        mean, std: per channel, on the scale 0..1.
        pad: black pixels added on every side of all images, test images included.
        crop_padding, crop_size, flip: augmentation, see `ArrayLoader`.
        val_fraction: share of the training split held out for validation, stratified; 0 holds out nothing.
        validate_on: "heldout"; or "test", the papers' protocol: train on the whole training split and validate on
            the test split.
        train_size, test_size: use so many images only, drawn with every class's share (the held-out images shrink in
            proportion to the training images); None: all.
        split_seed: of the held-out images and the subsets.
        seed: of the order and the augmentation.

    Raises:
        InputError: a value out of its range.
    """

    def __init__(
        self,
        *,
        data_dir: str | Path,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        drop_last: bool = True,
        eval_batch_size: int = 500,
        image_size: int | None = None,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        pad: int = 0,
        crop_padding: int = 0,
        crop_size: int | None = None,
        flip: bool = False,
        val_fraction: float = 0.1,
        validate_on: Literal["heldout", "test"] = "heldout",
        train_size: int | None = None,
        test_size: int | None = None,
        split_seed: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.data_dir = Path(data_dir).expanduser()
        self.mean, self.std = checked_channels(mean, std)
        self.batch_size, self.drop_last, self.eval_batch_size = batch_size, drop_last, eval_batch_size
        self.target_size, self.interpolation, self.pad = image_size, interpolation, pad
        self.crop_padding, self.crop_size, self.flip = crop_padding, crop_size, flip
        self.val_fraction, self.validate_on = val_fraction, validate_on
        self.train_size, self.test_size = train_size, test_size
        self.split_seed, self.seed = split_seed, seed
        self.views = False  # whether training batches say how their images were cropped and mirrored
        self._parts: dict[str, ImageArrays | None] = {}
        check_whole({field: image_size if field == "image_size" else getattr(self, field) for field in LEAST}, LEAST)
        self._check()

    def read(self) -> Splits:
        """Return the training and test splits; download or convert them first if need be.

        Raises:
            InputError: the data are not there and cannot be fetched, or are damaged.
        """
        raise NotImplementedError

    def render(self, arrays: ImageArrays, part: str, share: float) -> ImageArrays:
        """Turn what was read into images, once the validation split has been held out; here nothing is to be done.

        Args:
            arrays: the images of one part.
            part: "train", "val" or "test".
            share: how much of its split this part is, 0..1.
        """
        return arrays

    def prepare_data(self) -> None:
        """Fetch and convert the data where that is needed; Lightning calls this in one process only."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Read the data and make the parts; a second call does nothing."""
        if self._parts:
            return
        splits = self.read()
        train, val = splits.train, None
        if self.validate_on == "heldout":
            train, val = hold_out(splits.train, self.val_fraction, self.split_seed)
        train_share = len(train) / len(splits.train)
        full = self.render(train, "train", train_share)
        train = shortened(full, self.train_size, self.split_seed, "train_size")
        if val is not None:
            val = self.render(val, "val", 1 - train_share)
            size = max(1, round(len(val) * len(train) / len(full)))
            val = shortened(val, size, self.split_seed, "train_size").padded(self.pad)
        test = self.render(splits.test, "test", 1.0)
        test = shortened(test, self.test_size, self.split_seed, "test_size").padded(self.pad)
        self._classes = splits.classes
        val = test if self.validate_on == "test" else val
        self._parts = {"train": train.padded(self.pad), "val": val, "test": test}

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in label order; after `setup`, like all properties."""
        return self._classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self._classes)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self._parts["train"].images.shape[-1]

    @property
    def image_size(self) -> int:
        """Side in pixels of the images the model trains on."""
        return self.target_size or self.crop_size or self._parts["train"].images.shape[1]

    @property
    def has_boxes(self) -> bool:
        """Whether batches have a `box`."""
        return self._parts["train"].boxes is not None

    def train_dataloader(self) -> ArrayLoader:
        """Return the shuffled, augmented loader of the training images."""
        crop = {"crop_padding": self.crop_padding, "crop_size": self.crop_size, "flip": self.flip}
        order = {"shuffle": True, "drop_last": self.drop_last, "seed": self.seed}
        return self._loader("train", self.batch_size, views=self.views, **order, **crop)

    def val_dataloader(self) -> ArrayLoader | list:
        """Return the loader of the held-out (or test) images; an empty list, no validation, where there are none."""
        return [] if self._parts["val"] is None else self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> ArrayLoader:
        """Return the loader of the test images, each exactly once over all processes."""
        return self._loader("test", self.eval_batch_size)

    def part(self, name: str) -> ImageArrays | None:
        """Return the images of "train", "val" or "test"; None where nothing validates."""
        return self._parts[name]

    def plain_batches(self, name: str, positions: np.ndarray, batch_size: int) -> ArrayLoader:
        """Return batches of the images at `positions` of a part, in that order, seen as test images are."""
        images = self._parts[name].take(positions)
        return ArrayLoader(images, batch_size=batch_size, **self._look())

    def _loader(self, part: str, batch_size: int, **options: object) -> ArrayLoader:
        if self.trainer is not None:
            options |= {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
            options |= {"device": self.trainer.strategy.root_device}
            batch_size = share_of_batch(batch_size, self.trainer.world_size) if part == "train" else batch_size
        return ArrayLoader(self._parts[part], batch_size=batch_size, **self._look(), **options)

    def _look(self) -> dict[str, object]:
        size = {"image_size": self.target_size, "interpolation": self.interpolation}
        return {"mean": self.mean, "std": self.std, **size}

    def _check(self) -> None:
        boolean("dataset.flip", self.flip)
        boolean("dataset.drop_last", self.drop_last)
        one_of("dataset.interpolation", self.interpolation, ("bilinear", "bicubic"))
        check_validation(self.val_fraction, self.validate_on)


def checked_channels(mean: Sequence[float], std: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return `mean` and `std` as tuples of floats, one value per channel.

    Raises:
        InputError: not lists of numbers, or a `std` that is not above 0.
    """
    for field, values in {"mean": mean, "std": std}.items():
        list_of(f"dataset.{field}", values, (int, float), "numbers, one per channel")
        for channel, value in enumerate(values):
            number(f"dataset.{field}[{channel}]", value)
    for channel, value in enumerate(std):
        finite(f"dataset.std[{channel}]", value, lambda spread: spread > 0, "a finite number above 0")
    return tuple(float(value) for value in mean), tuple(float(value) for value in std)


def check_whole(values: dict[str, object], least: dict[str, int]) -> None:
    """Check that each of `values`, where not None, is a whole number of at least `least[field]`.

    Raises:
        InputError: it is not; the message names the field.
    """
    for field, value in values.items():
        if value is not None:
            integer(f"dataset.{field}", value, least[field])
