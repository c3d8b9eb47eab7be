"""Which images train, validate and test, where a data set does not say or folds are asked for."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from zoomexp.arguments import finite
from zoomexp.datasets.holdout import check_folds, check_validation, fold_out, hold_out
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.errors import InputError

VAL_FRACTION, TEST_FRACTION = 0.1, 0.2  # what is held out where nobody says how much


@dataclass(frozen=True)
class Parts:
    """The images that train, validate (None: nothing does) and test, and what the user has to know of how they came."""

    train: ImageFiles
    val: ImageFiles | None
    test: ImageFiles
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Partition:
    """How a data set is parted; see `StreamDataModule` for what each means.

    Raises:
        InputError: a value out of its range.
    """

    val_fraction: float
    validate_on: Literal["heldout", "test"]
    test_fraction: float
    fold: int | None
    folds: int | None
    seed: int

    def __post_init__(self) -> None:
        check_validation(self.val_fraction, self.validate_on)
        finite("dataset.test_fraction", self.test_fraction, lambda share: 0 < share < 1, "a number in (0, 1)")
        check_folds(self.fold, self.folds)

    def of(self, splits: FileSplits) -> Parts:
        """Part a data set. Only what it does not bring itself is held out: a test split, then a validation split.

        Raises:
            InputError: too few images or groups for it, or a class without training images.
        """
        self._check_used(splits)
        train, val, test, notes = splits.train, splits.val, splits.test, splits.notes
        if self.folds is not None:
            train, test, notes = self._folded(splits)
            val = None
        elif test is None:
            train, test = hold_out(train, self.test_fraction, self.seed, "test_fraction")
            notes += (f"tested on {100 * self.test_fraction:g} % of the images, held out (dataset.test_fraction)",)
        assert test is not None  # a fraction above 0 of the images
        if self.validate_on == "heldout" and val is None:
            train, val = hold_out(train, self.val_fraction, self.seed)
        if self.validate_on == "test":
            val = test
        if self.folds is not None or splits.test is None:
            check_classes(train, test, splits.classes)
        return Parts(train, val, test, notes)

    def _check_used(self, splits: FileSplits) -> None:
        """Refuse a share, other than the usual one or none, of what is not held out."""
        why = {
            name: f"the data set has a {name} split" for name in ("test", "val") if getattr(splits, name) is not None
        }
        if self.folds is not None:
            why = {"test": f"dataset.folds={self.folds} part the images"}
        for name, usual in (("test", TEST_FRACTION), ("val", VAL_FRACTION)):
            share = getattr(self, f"{name}_fraction")
            if name in why and share not in (usual, 0):
                raise InputError(f"dataset.{name}_fraction={share}: nothing is held out, for {why[name]}; leave it out")

    def _folded(self, splits: FileSplits) -> tuple[ImageFiles, ImageFiles, tuple[str, ...]]:
        pool = splits.train if splits.val is None else splits.train.joined(splits.val)
        assert self.fold is not None and self.folds is not None
        if not len(pool):
            raise InputError(f"dataset.folds={self.folds}: there are no training images to part")
        note = f"tested on fold {self.fold} of {self.folds} (0 to {self.folds - 1})"
        if splits.test is not None:
            note += " of the training images; the test split is not used"
        return *fold_out(pool, self.fold, self.folds, self.seed), (*splits.notes, note)


def check_classes(train: ImageFiles, test: ImageFiles, classes: tuple[str, ...]) -> None:
    """Refuse a class that is tested and not trained.

    Raises:
        InputError: there is one; the message names it.
    """
    if untrained := sorted(set(np.unique(test.labels)) - set(np.unique(train.labels))):
        name, count = classes[untrained[0]], int((test.labels == untrained[0]).sum())
        raise InputError(
            f"dataset: class {name!r} has no training image left, {count} test it; it has too few images or groups"
        )
