"""AUROC and average precision against their definitions written out, and torchmetrics' against ours."""

import numpy as np
import pytest

from zoomexp.metrics.declared import AUROC, AVERAGE_PRECISION
from zoomexp.metrics.ranking import (
    auroc,
    auroc_of_predictions,
    average_precision,
    average_precision_of_predictions,
    ranking_scores,
)
from zoomexp.results.comparison import compare
from zoomexp.results.predictions import Predictions


def drawn(images: int, classes: int, seed: int = 0, fit: float = 1.0, steps: int = 7) -> Predictions:
    """Labels, and probabilities that fit a little; rounded, so that many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    likely = rng.random((images, classes)) + fit * 0.3 * np.eye(classes)[labels]
    shares = np.round(steps * likely / likely.sum(1, keepdims=True)) / steps
    return Predictions({"label": labels, "probabilities": shares.astype(np.float32)})


def pairs_in_order(likely, own):
    """Every pair of an image of the class and one of another."""
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in likely[own] for b in likely[~own]]
    return sum(won) / len(won)


def steps_of_recall(likely, own):
    """Every threshold from the highest on."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(likely.tolist()), reverse=True):
        taken = [mine for value, mine in zip(likely.tolist(), own.tolist(), strict=True) if value >= threshold]
        total += (sum(taken) / sum(own) - recall) * sum(taken) / len(taken)
        recall = sum(taken) / sum(own)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_one_class_is_its_definition_with_equal_probabilities_too(seed):
    given = drawn(60, 2, seed)
    likely, own = given["probabilities"][:, 1], given["label"] == 1
    assert len(set(likely.tolist())) < 10
    assert auroc(likely, own) == pytest.approx(pairs_in_order(likely, own), abs=1e-12)
    assert average_precision(likely, own) == pytest.approx(steps_of_recall(likely, own), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_record_has_the_definition_and_a_draw_of_all_images_gives_the_same(classes):
    given = drawn(80, classes, seed=classes)
    found = ranking_scores(given)
    for key, definition, of_draw in (
        ("auroc", pairs_in_order, auroc_of_predictions),
        ("average_precision", steps_of_recall, average_precision_of_predictions),
    ):
        meant = [1] if classes == 2 else range(classes)
        expected = 100 * np.mean([definition(given["probabilities"][:, c], given["label"] == c) for c in meant])
        assert found[key] == pytest.approx(expected, abs=1e-4)  # torchmetrics' are float32
        assert of_draw(given) == pytest.approx(expected, abs=1e-9)


def test_the_extremes():
    labels = np.array([0, 0, 1, 1, 1])
    right = np.stack([1 - labels, labels], 1).astype(np.float32)
    assert ranking_scores({"label": labels, "probabilities": right}) == {"auroc": 100, "average_precision": 100}
    assert ranking_scores({"label": labels, "probabilities": right[:, ::-1].copy()})["auroc"] == 0
    same = ranking_scores({"label": labels, "probabilities": np.full((5, 2), 0.5, np.float32)})
    assert same == pytest.approx({"auroc": 50, "average_precision": 60})


def test_there_is_none_where_a_class_is_missing_or_the_probabilities_are():
    given = drawn(30, 3)
    assert ranking_scores({"label": given["label"]}) == {}
    assert ranking_scores({"label": given["label"] % 2, "probabilities": given["probabilities"]}) == {}
    alone = Predictions({"label": np.zeros(4, int), "probabilities": np.full((4, 2), 0.5)})
    assert np.isnan(auroc_of_predictions(alone)) and compare("test/auroc", AUROC, [alone], [alone]) is None
    assert compare("test/auroc", AUROC, *[[Predictions({"nll": np.ones(4)})]] * 2) is None


@pytest.mark.parametrize(("quantity", "definition"), [(AUROC, pairs_in_order), (AVERAGE_PRECISION, steps_of_recall)])
def test_two_systems_are_compared_on_images_drawn_anew(quantity, definition):
    sides = [drawn(40, 2, 5, fit=3.0), drawn(40, 2, 5, fit=0.3)]
    found = compare(f"test/{quantity.key}", quantity, [sides[0]], [sides[1]])
    rng, differences = np.random.default_rng(0), []
    for _ in range(1000):
        images = rng.integers(40, size=40)
        a, b = (100 * definition(s["probabilities"][images, 1], s["label"][images] == 1) for s in sides)
        differences.append(a - b)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert found.p_value < 0.05 and found.low > 0


def test_draws_without_the_looked_for_class_are_left_out():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]])
    side = Predictions({"label": np.array([0, 0, 1]), "probabilities": shares})  # 8 draws of 27 have no image of it
    found = compare("test/auroc", AUROC, [side], [side])
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
