"""How well a classifier ranks images by class, wherever a threshold is set: AUROC and average precision.

A class's images against all others, by the probability that the network gives the class:

    AUROC = the share of pairs, one of the class and one of another, that stand in the right order, equal ones by half
    average precision = sum_n (R_n - R_n-1) P_n, precision and recall of the images at least as likely as the n-th

Of two classes the second is the one that is looked for (an anomaly, a defect, a disease); of more it is the mean over
all classes, each counting alike. The numbers of a record are torchmetrics'; `of_class` says them of images drawn anew,
in a tenth of the time, and a test holds both equal.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import rankdata
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_auroc,
    multiclass_average_precision,
)

if TYPE_CHECKING:
    from zoomexp.results.predictions import Predictions

MOST_CLASSES = 20  # with more, a number for each class and image would be most of what a run keeps
KEPT = "probabilities"  # (N, K), of each test image


def ranking_scores(predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """`auroc` and `average_precision` in percent.

    Args:
        predictions: `probabilities` (N, K) and `label` (N,).

    Returns:
        Nothing where a class has no test images, or where the probabilities were not kept (see MOST_CLASSES).

    >>> shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    >>> found = ranking_scores({"probabilities": shares, "label": np.array([0, 0, 1, 1])})
    >>> {name: round(value, 2) for name, value in found.items()}  # three pairs of four; 1/2 + 1/2 * 2/3
    {'auroc': 75.0, 'average_precision': 83.33}
    """
    if KEPT not in predictions:
        return {}
    shares, labels = torch.from_numpy(predictions[KEPT]), torch.from_numpy(predictions["label"])
    classes = shares.shape[1]
    if len(labels.unique()) < classes:
        return {}
    if classes == 2:
        found = binary_auroc(shares[:, 1], labels), binary_average_precision(shares[:, 1], labels)
    else:
        found = multiclass_auroc(shares, labels, classes), multiclass_average_precision(shares, labels, classes)
    return dict(zip(("auroc", "average_precision"), (100 * float(value) for value in found), strict=True))


def auroc(likely: np.ndarray, own: np.ndarray) -> float:
    """Share of pairs in the right order, by the rank sum of Mann and Whitney.

    Args:
        likely: (N,), how likely each image is of the class.
        own: (N,) bool, whether it is; some are and some are not.
    """
    images = own.sum()
    above = rankdata(likely)[own].sum() - images * (images + 1) / 2
    return float(above / images / (len(own) - images))


def average_precision(likely: np.ndarray, own: np.ndarray) -> float:
    """Precision at each threshold, weighted by the recall that it adds; arguments as in `auroc`."""
    values, places = np.unique(-likely, return_inverse=True)
    found = np.bincount(places, weights=own, minlength=len(values))
    precision = found.cumsum() / np.bincount(places).cumsum()
    return float((precision * found).sum() / own.sum())


def of_class(measure: Callable[[np.ndarray, np.ndarray], float], predictions: "Predictions") -> float:
    """A measure in percent: of the second of two classes, or the mean over those that have images.

    NaN where there are images of one class only.
    """
    shares, labels = predictions[KEPT], predictions["label"]
    there = np.unique(labels)
    if len(there) < 2:
        return float("nan")
    looked_for = [1] if shares.shape[1] == 2 else there
    return float(100 * np.mean([measure(shares[:, one], labels == one) for one in looked_for]))


def auroc_of_predictions(predictions: "Predictions") -> float:
    """AUROC of a run's test images."""
    return of_class(auroc, predictions)


def average_precision_of_predictions(predictions: "Predictions") -> float:
    """Average precision of a run's test images."""
    return of_class(average_precision, predictions)
