"""What every data module shares: its folder, its splits, and how their images are spread over batches and processes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from zoomexp.arguments import boolean, finite, integer, list_of, number
from zoomexp.datasets.holdout import check_validation
from zoomexp.datasets.loader import share_of_batch

LEAST = {"batch_size": 1, "eval_batch_size": 1, "split_seed": 0, "seed": 0}


class DataModule(pl.LightningDataModule):
    """A data set of a training, maybe a validation, and a test split; a subclass makes these parts and loads them.

    Args:
        data_dir: folder that holds the data sets.
        batch_size: training images a batch, over all processes.
        eval_batch_size: images a batch in validation and test, per process.
        mean: per channel, on the scale 0..1.
        std: likewise.
        drop_last: leave out an epoch's last training batch where it is not full; false keeps it, as many papers' code.
        val_fraction: share of the training split held out for validation; 0 holds out nothing.
        validate_on: "heldout"; or "test", the papers' protocol: train on the whole training split and validate on
            the test split.
        split_seed: of the held-out images and the subsets.
        seed: of the order and the augmentation.

    Raises:
        InputError: a value out of its range.
    """

    name: str  # the choice of configs/dataset

    def __init__(
        self,
        *,
        data_dir: str | Path,
        batch_size: int,
        eval_batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        drop_last: bool = True,
        val_fraction: float = 0.1,
        validate_on: Literal["heldout", "test"] = "heldout",
        split_seed: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.data_dir = Path(data_dir).expanduser()
        self.mean, self.std = checked_channels(mean, std)
        self.batch_size, self.eval_batch_size, self.drop_last = batch_size, eval_batch_size, drop_last
        self.val_fraction, self.validate_on = val_fraction, validate_on
        self.split_seed, self.seed = split_seed, seed
        self._classes: tuple[str, ...] = ()
        self._parts: dict[str, Any] = {}
        check_whole({field: getattr(self, field) for field in LEAST}, LEAST)
        boolean("dataset.drop_last", drop_last)
        check_validation(val_fraction, validate_on)

    def make_parts(self) -> dict[str, Any]:
        """Return the images of "train", "val" (None where nothing validates) and "test", and set `_classes`.

        Raises:
            InputError: the data are not there and cannot be fetched, or are damaged.
        """
        raise NotImplementedError

    def load(self, part: str) -> Iterable[Mapping[str, Any]]:
        """Return the loader of a part that is not None: that of "train" shuffled and augmented."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Fetch and convert the data where that is needed; Lightning calls this in one process only."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Read the data and make the parts; a second call does nothing."""
        if not self._parts:
            self._parts = self.make_parts()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in label order; after `setup`, like all properties."""
        return self._classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def train_dataloader(self) -> Iterable[Mapping[str, Any]]:
        """Return the shuffled, augmented loader of the training images."""
        return self.load("train")

    def val_dataloader(self) -> Iterable[Mapping[str, Any]]:
        """Return the loader of the held-out (or test) images; an empty list, no validation, where there are none."""
        return [] if self._parts["val"] is None else self.load("val")

    def test_dataloader(self) -> Iterable[Mapping[str, Any]]:
        """Return the loader of the test images, each exactly once over all processes."""
        return self.load("test")

    def share(self, part: str) -> tuple[int, dict[str, Any]]:
        """Return how many images of a part this process has a batch, and its `rank` and `world_size` if it has them."""
        size = self.batch_size if part == "train" else self.eval_batch_size
        if self.trainer is None:
            return size, {}
        world = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        return share_of_batch(size, self.trainer.world_size) if part == "train" else size, world

    @property
    def device(self) -> torch.device:
        """Where the trainer's network is; the CPU without a trainer."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device


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
