"""Splits that keep groups whole: all images of a group, for example of one patient or one bird, fall into one part."""

from collections.abc import Sequence

import numpy as np


def assigned(labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int) -> np.ndarray:
    """Deal whole groups out to parts, so that each part's classes come close to its share.

    The largest groups come first, in a random order where sizes are equal, and each goes where most of what it has is
    still missing: that makes the sum of squares over parts and classes, and over all images, of (images - their share)
    smallest.

    Args:
        labels: (N,) int64, from 0.
        groups: (N,) int64, of each image.
        shares: of the parts, above 0, their sum 1.
        seed: of the order.

    Returns:
        (N,) int64, the part of each image.

    >>> parts = assigned(np.array([0, 0, 1, 1]), np.array([7, 8, 7, 8]), (0.5, 0.5), seed=0)
    >>> bool(parts[0] == parts[2] != parts[1] == parts[3])
    True
    """
    _, members = np.unique(groups, return_inverse=True)
    counts = np.zeros((members.max() + 1, labels.max() + 2))
    np.add.at(counts, (members, labels), 1)
    counts[:, -1] = counts.sum(1)  # the parts' sizes count like a class of their own
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled, -1], kind="stable")]
    missing = np.outer(shares, counts.sum(0))
    parts = np.empty(len(counts), np.int64)
    for group in order:
        # |missing - own|^2 falls by 2 own.missing - |own|^2: most where own.missing is largest
        parts[group] = np.argmax(missing @ counts[group])
        missing[parts[group]] -= counts[group]
    return parts[members]


def crossing(groups: Sequence[np.ndarray]) -> int | None:
    """Return a group that several of the parts have, given as the groups of their images; None if there is none."""
    seen: set[int] = set()
    for part in groups:
        own = set(part.tolist())
        if both := seen & own:
            return min(both)
        seen |= own
    return None
