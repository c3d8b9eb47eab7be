"""Seeded subsets that keep every class's share: validation and test splits, folds, shortened runs."""

from typing import TypeVar

import numpy as np

from zoomexp.arguments import finite, integer
from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.groups import assigned
from zoomexp.datasets.image_files import ImageFiles
from zoomexp.errors import InputError

Images = TypeVar("Images", ImageArrays, ImageFiles)


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


def hold_out(arrays: Images, fraction: float, seed: int, field: str = "val_fraction") -> tuple[Images, Images | None]:
    """Split `arrays` into (kept, held out); nothing is held out, None, at fraction 0. Groups are kept whole.

    Args:
        arrays: `ImageArrays` or `ImageFiles`.
        fraction: share to hold out.
        seed: see `stratified`.
        field: the config field that gives the fraction.

    Raises:
        InputError: a fraction above 0 that is less than one image, or leaves none.
    """
    if fraction == 0:
        return arrays, None
    size = round(fraction * len(arrays))
    groups = getattr(arrays, "groups", None)
    if not 0 < size < len(arrays):
        raise InputError(f"dataset.{field}={fraction} of {len(arrays)} training images is {size}; use another")
    if groups is None:
        held = stratified(arrays.labels, size, seed)
    else:
        held = held_groups(arrays.labels, groups, fraction, seed)
        if not 0 < len(held) < len(arrays):
            count = len(np.unique(groups))
            raise InputError(f"dataset.{field}={fraction}: no such part of {count} groups; use another fraction")
    return arrays.take(np.setdiff1d(np.arange(len(arrays)), held)), arrays.take(held)


def held_groups(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the positions (M,) of whole groups, about that share of each class; at least the smallest group."""
    held = np.flatnonzero(assigned(labels, groups, (1 - fraction, fraction), seed))
    if len(held):
        return held
    names, sizes = np.unique(groups, return_counts=True)
    return np.flatnonzero(groups == names[sizes.argmin()])


def fold_out(arrays: Images, fold: int, folds: int, seed: int) -> tuple[Images, Images]:
    """Split `arrays` into (the other folds, fold number `fold`): each image is in one fold, groups are kept whole.

    Raises:
        InputError: a class has fewer images than there are folds, or there are fewer groups.
    """
    groups = getattr(arrays, "groups", None)
    counts = np.bincount(arrays.labels)
    if counts[counts > 0].min() < folds:
        raise InputError(
            f"dataset.folds={folds}: a class has only {counts[counts > 0].min()} images; at most as many folds"
        )
    if groups is None:
        shuffled = np.random.default_rng(seed).permutation(len(arrays))
        by_class = shuffled[np.argsort(arrays.labels[shuffled], kind="stable")]
        places = np.empty(len(arrays), np.int64)
        places[by_class] = np.arange(len(arrays)) % folds
    elif (known := len(np.unique(groups))) < folds:
        raise InputError(f"dataset.folds={folds}: there are only {known} groups; at most as many folds")
    else:
        places = assigned(arrays.labels, groups, [1 / folds] * folds, seed)
    return arrays.take(np.flatnonzero(places != fold)), arrays.take(np.flatnonzero(places == fold))


def shortened(arrays: Images, size: int | None, seed: int, field: str) -> Images:
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
    finite("dataset.val_fraction", val_fraction, lambda share: 0 <= share < 1, "a number in [0, 1)")
    if validate_on not in ("heldout", "test"):
        raise InputError(f"dataset.validate_on={validate_on} is unknown; heldout or test")


def check_folds(fold: int | None, folds: int | None) -> None:
    """Check the arguments of a cross-validation.

    Raises:
        InputError: one without the other, fewer than two folds, or a fold that is none of them.
    """
    if fold is None and folds is None:
        return
    if fold is None or folds is None:
        given, lacking = ("folds", "fold") if fold is None else ("fold", "folds")
        raise InputError(f"dataset.{lacking}: must be given with dataset.{given}, the fold to test on of so many")
    integer("dataset.folds", folds, 2)
    integer("dataset.fold", fold, 0, folds - 1)
