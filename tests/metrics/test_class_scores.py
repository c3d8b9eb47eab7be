"""Scores by class against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from zoomexp.metrics.class_scores import class_scores, class_table, confusion


@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, 200, p=[0.6, 0.2, 0.1, 0.06, 0.04])
    top1 = np.where(rng.random(200) < 0.6, labels, rng.integers(0, 5, 200))
    counts = confusion(labels, top1, 5)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(labels, top1, labels=range(5)))
    table = class_table(counts, "abcde")
    precision, recall, f1, images = metrics.precision_recall_fscore_support(labels, top1, labels=range(5))
    for name, expected in {
        "precision": 100 * precision,
        "accuracy": 100 * recall,
        "f1": 100 * f1,
        "images": images,
    }.items():
        np.testing.assert_allclose(table[name], expected)
    scores = class_scores(table)
    assert scores["balanced_acc"] == pytest.approx(100 * metrics.balanced_accuracy_score(labels, top1))
    assert scores["macro_f1"] == pytest.approx(100 * metrics.f1_score(labels, top1, average="macro"))


def test_classes_without_images_do_not_count():
    labels, top1 = np.array([0, 0, 2, 2]), np.array([0, 3, 2, 2])  # class 1 nowhere, class 3 only predicted
    table = class_table(confusion(labels, top1, 4), "abcd")
    assert np.isnan(table["accuracy"][[1, 3]]).all() and np.isnan(table["f1"][1]) and table["f1"][3] == 0
    scores = class_scores(table)
    assert scores["balanced_acc"] == pytest.approx(75)
    assert scores["macro_f1"] == pytest.approx(100 * metrics.f1_score(labels, top1, average="macro"))
