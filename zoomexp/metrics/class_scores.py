"""How a classifier does class by class: the confusion matrix, and what follows from it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix


def confusion(labels: np.ndarray, top1: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the images of each class (row) that were taken for each class (column).

    Args:
        labels: (N,) int64.
        top1: (N,) int64, what was predicted.
        num_classes: K.

    Returns:
        (K, K) int64.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return multiclass_confusion_matrix(torch.from_numpy(top1), torch.from_numpy(labels), num_classes).numpy()


def class_table(counts: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """A row for each class, in percent; empty where nothing is divided by nothing.

    Args:
        counts: (K, K), see `confusion`.
        classes: names by label.

    Returns:
        Columns `class`, `images`, `accuracy` (of its images; recall), `precision` (of what was taken for it) and `f1`,
        the harmonic mean of the two.
    """
    right, images, taken = counts.diagonal(), counts.sum(1), counts.sum(0)
    shares = {"accuracy": (right, images), "precision": (right, taken), "f1": (2 * right, images + taken)}
    table = pd.DataFrame({"class": list(classes), "images": images})
    for name, (part, whole) in shares.items():
        table[name] = np.divide(100 * part, whole, out=np.full(len(counts), np.nan), where=whole > 0)
    return table


def class_scores(table: pd.DataFrame) -> dict[str, float]:
    """The means over classes of a `class_table`, in percent: every class counts alike, however many images it has.

    `balanced_acc` is over the classes that have images, `macro_f1` also over those that something was taken for.

    >>> table = class_table(np.array([[8, 0], [1, 1]]), ("a", "b"))
    >>> {name: round(value, 2) for name, value in class_scores(table).items()}
    {'balanced_acc': 75.0, 'macro_f1': 80.39}
    """
    return {"balanced_acc": float(table["accuracy"].mean()), "macro_f1": float(table["f1"].mean())}
