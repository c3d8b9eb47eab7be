"""Accuracy where an image has any number of right classes: ReaL (Beyer et al. 2020, arXiv 2006.07159)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from zoomexp.metrics.declared import REAL_ACC1


def among(top1: Tensor, label_sets: Tensor) -> Tensor:
    """Whether a prediction is among the labels of its image.

    Args:
        top1: (B,) int64.
        label_sets: (B, R) int64, rows filled with -1.

    Returns:
        (B,) float: 1, 0, or NaN of an image without a label.

    >>> among(torch.tensor([3, 3, 3]), torch.tensor([[5, 3], [5, -1], [-1, -1]]))
    tensor([1., 0., nan])
    """
    right = (label_sets == top1[:, None]).any(1).float()
    return torch.where((label_sets >= 0).any(1), right, torch.nan)


def real_accuracy(predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """`real_acc1` in percent of the images that have a label; nothing where none has, or no sets were known."""
    found = predictions.get(REAL_ACC1.key, np.empty(0))
    known = found[~np.isnan(found)]
    return {REAL_ACC1.key: 100 * float(known.mean())} if len(known) else {}
