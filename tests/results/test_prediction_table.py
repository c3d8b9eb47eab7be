"""The table of test images that people read."""

import numpy as np
import pandas as pd

from zoomexp.results.prediction_table import as_table, worst, write_table

KEPT = {
    "index": np.array([2, 0, 1]), "label": np.array([1, 0, 1]), "top1": np.array([0, 0, 1]),
    "confidence": np.float32([0.75, 0.5, 0.9]), "label_confidence": np.float32([0.25, 0.5, 0.9]),
}  # fmt: skip


def test_a_row_says_which_file_was_wrong_and_how_sure_the_answer_was(tmp_path):
    table = as_table(KEPT, ("cat", "d\u00f6g"), {0: "cat/a.jpg", 1: "d\u00f6g/b.jpg", 2: "d\u00f6g/c, d.jpg"})
    write_table(table, tmp_path / "predictions.csv")
    read = pd.read_csv(tmp_path / "predictions.csv")
    assert read.to_dict("records") == [
        {"index": 0, "file": "cat/a.jpg", "label": 0, "class": "cat", "top1": 0, "predicted": "cat", "right": True,
         "confidence": 0.5, "label_confidence": 0.5},
        {"index": 1, "file": "d\u00f6g/b.jpg", "label": 1, "class": "d\u00f6g", "top1": 1, "predicted": "d\u00f6g",
         "right": True, "confidence": 0.9, "label_confidence": 0.9},
        {"index": 2, "file": "d\u00f6g/c, d.jpg", "label": 1, "class": "d\u00f6g", "top1": 0, "predicted": "cat",
         "right": False, "confidence": 0.75, "label_confidence": 0.25},
    ]  # fmt: skip


def test_what_is_no_classifier_and_no_file():
    kept = {"index": np.array([1, 0]), "label": np.array([0, 1]), "mse": np.float32([0.5, 0.25])}
    assert as_table(kept, ("a", "b"), None).to_dict("list") == {
        "index": [0, 1], "label": [1, 0], "class": ["b", "a"], "mse": [0.25, 0.5],
    }  # fmt: skip


def test_a_task_without_labels_and_with_several_objects_an_image():
    kept = {
        "index": np.array([1, 0]),
        "distance": np.array([0.5, 0.25]),
        "found": np.ones(3),
        "found.lengths": np.array([2, 1]),
    }
    assert as_table(kept, (), None).to_dict("list") == {
        "index": [0, 1], "distance": [0.25, 0.5], "found.lengths": [1, 2],
    }  # fmt: skip


def test_the_worst_are_the_wrong_ones_of_which_the_run_was_surest():
    kept = {"index": np.arange(5), "label": np.zeros(5, int), "top1": np.array([0, 1, 2, 1, 1]),
            "confidence": np.array([0.99, 0.4, 0.8, 0.6, 0.8])}  # fmt: skip
    assert worst(kept, 3) == [2, 4, 3] and worst(kept, 9) == [2, 4, 3, 1]
