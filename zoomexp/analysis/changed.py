"""Which test images two runs answer differently."""

from collections.abc import Mapping

import numpy as np

from zoomexp.errors import InputError


def changed(baseline: Mapping[str, np.ndarray], run: Mapping[str, np.ndarray], count: int, key: str) -> list[int]:
    """Choose images that one run gets right and the other wrong.

    Half of them were won (baseline wrong, run right), half lost, as far as there are enough of both; of each kind they
    are evenly spread over the test split.

    Args:
        baseline: `predictions.npz` of a run, ordered by index.
        run: The same of the other.
        count: How many, at least 1.
        key: The outcome that is compared, (N,) true or false in each of them.

    Returns:
        Their indices, won and lost in turn; fewer than `count` if fewer changed.

    Raises:
        InputError: If the two are not of the same test images, if images are not right or wrong there, or if no image
            changed.
    """
    same = [name for name in ("index", "label") if name in baseline or name in run]
    if not all(name in baseline and name in run and np.array_equal(baseline[name], run[name]) for name in same):
        raise InputError("baseline: its run was tested on other images; name a run of the same data set")
    if not all(key in kept and kept[key].dtype == bool and kept[key].ndim == 1 for kept in (baseline, run)):
        raise InputError("images=changed: needs two runs by which each image is right or wrong; name images by number")
    before, after = baseline[key], run[key]
    won, lost = run["index"][~before & after], run["index"][before & ~after]
    if not len(won) + len(lost):
        raise InputError("images=changed: the two runs get the same images right; name images by number")
    losses = min(len(lost), count // 2)
    wins = min(len(won), count - losses)
    won, lost = spread(won, wins), spread(lost, min(len(lost), count - wins))
    turns = [image for pair in zip(won, lost, strict=False) for image in pair]
    rest = min(len(won), len(lost))
    return turns + won[rest:] + lost[rest:]


def spread(values: np.ndarray, count: int) -> list[int]:
    """Choose `count` of values (N,), evenly spread; all of them if there are not more.

    >>> spread(np.arange(10), 3)
    [1, 5, 8]
    """
    count = min(count, len(values))
    return [int(values[int((i + 0.5) * len(values) / count)]) for i in range(count)]
