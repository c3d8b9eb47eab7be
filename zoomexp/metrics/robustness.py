"""Measures of robustness that are no means over images."""

from collections.abc import Mapping

import numpy as np


def median_eps(predictions: Mapping[str, np.ndarray]) -> float:
    """Median of the smallest radius that flips an image, in 255ths, over the attacked images right without attack.

    Args:
        predictions: `robust/eps`, (N,): 0 where an image is wrong without attack, NaN where it was not attacked.

    Returns:
        0 where there is no such image: nothing had to be done.

    >>> median_eps({"robust/eps": np.array([0.0, 1.0, 2.0, 6.0, np.nan])})
    2.0
    """
    eps = predictions["robust/eps"]
    right = eps[eps > 0]
    return float(np.median(right)) if right.size else 0.0
