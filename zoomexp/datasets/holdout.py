"""Seeded subsets that keep every class's share: the validation split, shortened runs, the digits' test split."""

import numpy as np

from zoomexp.arguments import real
from zoomexp.datasets.arrays import ImageArrays
from zoomexp.errors import InputError


def stratified(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Draw `size` positions, each class within one image of its share.

    Args:
        labels: (N,) integers.
        size: how many to draw, 0..N.
        seed: at least 0; the same seed draws the same positions.

    Returns:
        (size,) int64 positions in `labels`, ascending.

    >>> labels = np.array([0] * 6 + [1] * 3)
    >>> np.bincount(labels[stratified(labels, 3, seed=0)]).tolist()
    [2, 1]
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    evenly = (2 * np.arange(size) + 1) * len(labels) // (2 * max(size, 1))
    return np.sort(by_class[evenly])


def hold_out(arrays: ImageArrays, fraction: float, seed: int) -> tuple[ImageArrays, ImageArrays | None]:
    """Split `arrays` into (kept, held out); nothing is held out, None, at fraction 0.

    Raises:
        InputError: a fraction above 0 that is less than one image, or leaves none.
    """
    if fraction == 0:
        return arrays, None
    size = round(fraction * len(arrays))
    if not 0 < size < len(arrays):
        raise InputError(f"dataset.val_fraction={fraction} of {len(arrays)} training images is {size}; use another")
    held = stratified(arrays.labels, size, seed)
    return arrays.take(np.setdiff1d(np.arange(len(arrays)), held)), arrays.take(held)


def shortened(arrays: ImageArrays, size: int | None, seed: int, field: str) -> ImageArrays:
    """Return a stratified draw of `size` images, or all if None; `field` is the config field that says so.

    Raises:
        InputError: there are fewer than `size` images.
    """
    if size is None or size == len(arrays):
        return arrays
    if size > len(arrays):
        raise InputError(f"dataset.{field}={size} is more images than there are; at most {len(arrays)}")
    return arrays.take(stratified(arrays.labels, size, seed))


def check_validation(val_fraction: float, validate_on: str) -> None:
    """Check the arguments that say what validates.

    Raises:
        InputError: `val_fraction` outside [0, 1), or `validate_on` other than "heldout" and "test".
    """
    real("dataset.val_fraction", val_fraction, lambda share: 0 <= share < 1, "a number in [0, 1)")
    if validate_on not in ("heldout", "test"):
        raise InputError(f"dataset.validate_on={validate_on} is unknown; heldout or test")
