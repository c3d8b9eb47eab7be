"""Linear probe and nearest neighbours, against scikit-learn's own; and a run of it."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from zoomexp.tasks.probe import fit_linear, knn_votes

NOISE = np.random.default_rng(0)


def clusters(count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features that lie around their class's place, far from 0 and of different spreads."""
    labels = np.arange(count) % classes
    places = np.random.default_rng(1).normal(size=(classes, 6))
    spread = np.array([1, 5, 0.1, 1, 20, 1])
    return (places[labels] + NOISE.normal(size=(count, 6))) * spread + 30, labels


@pytest.mark.parametrize("classes", [2, 4])
def test_the_linear_layer_is_the_logistic_regression(classes):
    train, (features, labels) = clusters(80, classes), clusters(40, classes)
    found = fit_linear(train, (features, labels), classes, [0.001, 1.0])
    mean, std = train[0].mean(0), train[0].std(0) + 1e-6
    models = {c: LogisticRegression(C=c, max_iter=2000).fit((train[0] - mean) / std, train[1]) for c in (0.001, 1.0)}
    best = max(models, key=lambda c: models[c].score((features - mean) / std, labels))
    assert found["penalty"] == best
    logits = torch.tensor(features @ found["weight"].T + found["bias"])
    expected = models[best].predict_proba((features - mean) / std)
    torch.testing.assert_close(logits.softmax(1), torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_without_validation_the_middle_penalty_and_a_class_without_images_never_comes_first():
    features, labels = clusters(60, 3)
    found = fit_linear((features, labels), None, 5, [10.0, 0.1, 1.0])
    assert found["penalty"] == 1.0
    assert set((features @ found["weight"].T + found["bias"]).argmax(1)) <= {0, 1, 2}


def test_votes_are_those_of_weighted_neighbours():
    (bank, labels), (features, _) = clusters(50, 3), clusters(20, 3)
    near = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.2))
    votes = knn_votes(torch.tensor(features), torch.tensor(bank), torch.tensor(labels), 3, 7, 0.2)
    expected = near.fit(bank, labels).predict_proba(features)
    torch.testing.assert_close(
        (votes / votes.sum(1, keepdim=True)).double(), torch.tensor(expected), rtol=1e-3, atol=1e-4
    )
    few = knn_votes(torch.tensor(features), torch.tensor(bank[:4]), torch.tensor(labels[:4]), 3, 7, 0.2)
    assert few.shape == (20, 3)
