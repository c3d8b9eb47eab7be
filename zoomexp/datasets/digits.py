"""scikit-learn's 1,797 handwritten digits (UCI, "Optical Recognition of Handwritten Digits"), 8 x 8 pixels, grey."""

from typing import Any

import numpy as np

from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import ImageArrays, Splits
from zoomexp.datasets.data_module import check_whole
from zoomexp.datasets.holdout import hold_out

TEST_FRACTION = 0.2


class Digits(ArrayDataModule):
    """The digits as they are.

    Args:
        data_seed: of the split into training and test digits.
        **common: as in `ArrayDataModule`.
    """

    name = "digits"

    def __init__(self, *, data_seed: int = 0, **common: Any) -> None:
        super().__init__(**common)
        check_whole({"data_seed": data_seed}, {"data_seed": 0})
        self.data_seed = data_seed

    def read(self) -> Splits:
        """Return the digits, split."""
        return digit_splits(self.data_seed)


def digit_splits(seed: int) -> Splits:
    """Return scikit-learn's digits, (N, 8, 8, 1), a stratified fifth of them for the test; nothing is downloaded."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    train, test = hold_out(ImageArrays(images, labels.astype(np.int64)), TEST_FRACTION, seed)
    assert test is not None  # a fifth of them
    train, test = (ImageArrays(part.images, part.labels) for part in (train, test))
    return Splits(train, test, tuple("0123456789"))
