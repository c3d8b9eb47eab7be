"""Does a classifier's confidence say how often it is right? Expected calibration error over bins of equal mass.

The N images are sorted by confidence (the largest class probability) and cut into B bins of N / B images each:

    ECE = sum_b n_b / N |share right in b - mean confidence in b|

Bins of equal mass (Nguyen and O'Connor 2015, arXiv 1508.05154) instead of equal width, because most images of a
trained network lie in the last bin of equal width, and because the estimate is less biased (Roelofs et al. 2022, arXiv
2012.08668). Images of the same confidence share a bin, so that the order of the images decides nothing; a bin may then
hold more than its share, and another none. torchmetrics' `CalibrationError` has bins of equal width: another figure.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from zoomexp.results.predictions import Predictions

BINS = 15


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error in percent.

    Args:
        confidence: (N,) in [0, 1], N at least 1.
        right: (N,) true or false, whether the class of that confidence is right.
        bins: at least 1.

    >>> error = calibration_error(np.array([0.5, 0.7, 0.8, 1.0]), np.array([False, True, True, True]), bins=2)
    >>> round(error, 9)  # 0.1 in each bin: half right at a confidence of 0.6, all right at one of 0.9
    10.0
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    gaps = np.bincount(_places(confidence, bins), weights=right - confidence)
    return float(100 * np.abs(gaps).sum() / len(confidence))


def calibration_curve(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the error is the mean of: each bin that has images.

    Args:
        confidence: (N,) in [0, 1], N at least 1.
        right: (N,) true or false.
        bins: at least 1.

    Returns:
        Mean confidence, share right, both in [0, 1] and rising in the first, and images: (B,) each, B at most `bins`.

    >>> curve = calibration_curve(np.array([0.5, 0.7, 0.8, 1.0]), np.array([False, True, True, True]), bins=2)
    >>> [one.round(9).tolist() for one in curve]
    [[0.6, 0.9], [0.5, 1.0], [2, 2]]
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    places = _places(confidence, bins)
    images = np.bincount(places)
    held = images > 0
    sums = [np.bincount(places, weights=values)[held] for values in (confidence, right)]
    return sums[0] / images[held], sums[1] / images[held], images[held]


def _places(confidence: np.ndarray, bins: int) -> np.ndarray:
    ranks = np.searchsorted(np.sort(confidence), confidence)  # of equal ones that of the first
    return ranks * bins // len(confidence)


def of_predictions(predictions: "Predictions") -> float:
    """The same of a run's test images."""
    return calibration_error(predictions["confidence"], predictions["acc1"])
