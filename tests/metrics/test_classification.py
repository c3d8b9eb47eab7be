"""What classifiers are scored by, against numpy's equations and torchmetrics."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryCalibrationError

from zoomexp.metrics.calibration import BINS, calibration_curve, calibration_error
from zoomexp.metrics.classification import outcomes, scores
from zoomexp.metrics.declared import CLASSIFICATION
from zoomexp.metrics.ranking import MOST_CLASSES
from zoomexp.metrics.selection import risk_over_coverage


def drawn(images: int, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels that fit a little."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 1.5
    return logits, labels


def by_numpy(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, np.ndarray]:
    """Each outcome from its definition, in double precision."""
    x, y = logits.double().numpy(), labels.numpy()
    shares = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    own = shares[np.arange(len(y)), y]
    rank = (x > x[np.arange(len(y)), y][:, None]).sum(1)
    said = {"top1": x.argmax(1), "confidence": shares.max(1), "label_confidence": own}
    brier = ((shares - np.eye(x.shape[1])[y]) ** 2).sum(1)
    measured = {"acc1": rank < 1, "acc5": rank < 5, "nll": -np.log(own), "brier": brier}
    return said | measured | {"probabilities": shares}


def test_outcomes_are_their_definitions():
    logits, labels = drawn(200)
    found, expected = outcomes(logits, labels), by_numpy(logits, labels)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].numpy(), values, rtol=1e-5, atol=1e-6)


def test_all_probabilities_are_kept_of_few_classes_only():
    assert "probabilities" in outcomes(*drawn(4, MOST_CLASSES))
    assert "probabilities" not in outcomes(*drawn(4, MOST_CLASSES + 1))


def test_scores_over_batches_are_means_of_outcomes_and_declared():
    logits, labels = drawn(205)
    kept = scores(7)
    for part in torch.arange(205).split(64):
        kept.update(logits[part], labels[part])
    found, expected = {name: value.item() for name, value in kept.compute().items()}, by_numpy(logits, labels)
    assert found.keys() <= {quantity.key for quantity in CLASSIFICATION}
    assert found["acc1"] == np.float32(expected["acc1"].mean())
    assert found["acc5"] == np.float32(expected["acc5"].mean())
    assert found["nll"] == pytest.approx(expected["nll"].mean(), rel=1e-6)
    assert 100 * found["ece"] == pytest.approx(calibration_error(expected["confidence"], expected["acc1"]), abs=1e-3)
    assert found["brier"] == pytest.approx(expected["brier"].mean(), rel=1e-6)
    assert 100 * found["aurc"] == pytest.approx(area(expected["confidence"], expected["acc1"]), abs=1e-3)
    kept.reset()
    kept.update(logits[:10], labels[:10])
    assert kept.compute()["acc1"].item() == np.float32(expected["acc1"][:10].mean())


def area(confidence, right):
    """The mean risk over coverages, written out."""
    order = np.argsort(-confidence)
    return 100 * np.mean([1 - np.mean(right[order[:k]]) for k in range(1, len(order) + 1)])


def test_images_of_one_confidence_count_alike_whatever_their_order():
    confidence, right = np.array([0.9, 0.5, 0.5, 0.5, 0.2]), np.array([True, False, True, True, False])
    expected = np.mean([area(np.array([9, *order, 0]), right) for order in permutations((1, 2, 3))])
    assert risk_over_coverage(confidence, right) == pytest.approx(expected)
    assert risk_over_coverage(confidence[::-1], right[::-1]) == pytest.approx(expected)
    assert risk_over_coverage(np.ones(4), np.zeros(4)) == 100 and risk_over_coverage(np.ones(4), np.ones(4)) == 0


def test_bins_of_equal_mass_are_the_sorted_images_in_equal_parts():
    generator = np.random.default_rng(0)
    confidence, right = generator.random(20 * BINS), generator.random(20 * BINS) < 0.6
    order = np.argsort(confidence)
    parts = zip(np.split(confidence[order], BINS), np.split(right[order], BINS), strict=True)
    expected = np.mean([abs(np.mean(hit) - np.mean(said)) for said, hit in parts])
    assert calibration_error(confidence, right) == pytest.approx(100 * expected, abs=1e-10)


def test_where_both_kinds_of_bins_are_the_same_torchmetrics_says_the_same():
    confidence = (np.arange(40 * BINS) + 0.5) / (40 * BINS)  # so many in every bin of equal width
    right = np.random.default_rng(1).random(len(confidence)) < confidence**2
    reference = BinaryCalibrationError(n_bins=BINS, norm="l1")(torch.tensor(confidence), torch.tensor(right).int())
    assert calibration_error(confidence, right) == pytest.approx(100 * reference.item(), abs=1e-4)


def test_the_order_of_the_images_decides_nothing_even_among_equal_confidences():
    generator = np.random.default_rng(2)
    confidence, right = generator.integers(5, 9, 500) / 9, generator.random(500) < 0.7
    shuffled = generator.permutation(500)
    expected = sum(abs((right - confidence)[confidence == said].sum()) for said in np.unique(confidence)) / 500
    for order in (np.arange(500), shuffled):
        assert calibration_error(confidence[order], right[order], bins=100) == pytest.approx(100 * expected)


@pytest.mark.parametrize(("confidence", "right", "expected"), [([0.75] * 4, [1, 1, 1, 0], 0), ([0.9], [0], 90)])
def test_a_value_by_hand(confidence, right, expected):
    assert calibration_error(np.array(confidence), np.array(right)) == pytest.approx(expected, abs=1e-9)


def test_the_calibration_curve_is_what_the_error_is_the_mean_of():
    random = np.random.default_rng(0)
    confidence, right = random.random(101).round(1), random.random(101) < 0.6  # many of the same confidence
    sure, share, images = calibration_curve(confidence, right)
    assert images.sum() == 101 and (np.diff(sure) > 0).all()
    assert (images * share).sum() == pytest.approx(right.sum())
    assert (images * sure).sum() == pytest.approx(confidence.sum())
    error = 100 * (images * np.abs(share - sure)).sum() / 101
    assert calibration_error(confidence, right) == pytest.approx(error, abs=1e-10)
