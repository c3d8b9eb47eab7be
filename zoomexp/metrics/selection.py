"""What a classifier's confidence is worth for abstaining: the area under the risk-coverage curve.

The images are taken from the surest on; after k of them the risk is the share that is wrong among them, and the area is
the mean of the risk over all k (AURC; Geifman, Uziel and El-Yaniv 2019, arXiv 1805.08206):

    AURC = 1 / N sum_k 1 / k sum_{i <= k} [image i is wrong]

Among images of the same confidence each counts with their common share of wrong ones, so that their order decides
nothing.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from zoomexp.results.predictions import Predictions


def risk_over_coverage(confidence: np.ndarray, right: np.ndarray) -> float:
    """The area in percent: 0 if all are right, 100 if none is.

    Args:
        confidence: (N,), N at least 1.
        right: (N,) true or false.

    >>> area = risk_over_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True]))
    >>> round(area, 4)  # the mean of 0, 1/2, 1/3 and 1/4
    27.0833
    """
    values, places = np.unique(-np.asarray(confidence, np.float64), return_inverse=True)
    wrong = 1 - np.asarray(right, np.float64)
    images = np.bincount(places)
    share = np.bincount(places, weights=wrong, minlength=len(values)) / images
    among = np.cumsum(np.repeat(share, images))
    return float(100 * (among / np.arange(1, len(among) + 1)).mean())


def of_predictions(predictions: "Predictions") -> float:
    """The same of a run's test images."""
    return risk_over_coverage(predictions["confidence"], predictions["acc1"])
