"""The test images one by one, to be read by people: which file, which class, which prediction, how sure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from zoomexp.atomic_file import atomic_file
from zoomexp.results.predictions import LENGTHS


def as_table(
    predictions: Mapping[str, np.ndarray], classes: Sequence[str], files: Mapping[int, str] | None
) -> pd.DataFrame:
    """A row for each test image, by index.

    Args:
        predictions: `index` and what the task kept, (N,) each; of a classifier `label`, `top1` and confidences. Of
            what is kept of several objects an image only their number is shown.
        classes: names by label.
        files: the images' files by index; None where the images are no files.

    Returns:
        Columns `index`, `file` and, of a classifier, `label`, `class`, `top1`, `predicted` (its class) and `right`,
        then what else was kept.
    """
    kept = {name: values for name, values in predictions.items() if f"{name}{LENGTHS}" not in predictions}
    rows = {name: values for name, values in kept.items() if values.ndim == 1}
    table = pd.DataFrame(rows).sort_values("index", kind="stable", ignore_index=True)
    names, first = np.array(classes, dtype=object), ["index"]
    if "label" in table:
        table["class"] = names[table["label"]]
        first += ["label", "class"]
    if files is not None:
        table["file"] = table["index"].map(files)
        first.insert(1, "file")
    if "top1" in table:
        table["predicted"], table["right"] = names[table["top1"]], table["top1"] == table["label"]
        first += ["top1", "predicted", "right"]
    return table[[*first, *(name for name in table if name not in first)]]


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV file in one step."""
    with atomic_file(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6g", encoding="utf-8")


def worst(predictions: Mapping[str, np.ndarray], count: int) -> list[int]:
    """The indices of the wrong ones, the surest first, at most `count`.

    >>> kept = {"index": [0, 1, 2], "label": [0, 0, 1], "top1": [1, 0, 0], "confidence": [0.6, 0.9, 0.8]}
    >>> worst({name: np.array(values) for name, values in kept.items()}, 5)
    [2, 0]
    """
    wrong = np.flatnonzero(predictions["top1"] != predictions["label"])
    order = np.argsort(-predictions["confidence"][wrong], kind="stable")
    return predictions["index"][wrong[order[:count]]].tolist()
