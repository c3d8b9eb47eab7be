"""Temperature scaling: the least of the likelihood as an optimiser finds it, and what must not change."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F
from torchmetrics.classification import MulticlassCalibrationError

from zoomexp.metrics.classification import outcomes
from zoomexp.metrics.temperature import Temperature


def logits_of(sharpness: float, images: int = 4000, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose labels were drawn at softmax(logits / sharpness), which is therefore about their temperature."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(images, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return logits * sharpness, labels


def fitted(logits: torch.Tensor, labels: torch.Tensor) -> float:
    metric = Temperature()
    for rows in torch.arange(len(labels)).split(1500):
        metric.update(logits[rows], labels[rows])
    return float(metric.compute())


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 2.5, 6.0])
def test_it_is_the_least_of_the_likelihood(sharpness):
    logits, labels = logits_of(sharpness)

    def likelihood(log):
        return float(F.cross_entropy(logits.double() / math.exp(log), labels))

    found = minimize_scalar(likelihood, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    assert fitted(logits, labels) == pytest.approx(math.exp(found.x), rel=2e-3)
    assert fitted(logits, labels) == pytest.approx(sharpness, rel=0.05)
    assert fitted(logits + 100 * torch.randn(len(labels), 1), labels) == pytest.approx(fitted(logits, labels), rel=1e-4)


def test_it_mends_calibration_and_no_prediction():
    logits, labels = logits_of(3.0)
    half = len(labels) // 2
    scaled = logits[half:] / fitted(logits[:half], labels[:half])
    before, after = outcomes(logits[half:], labels[half:]), outcomes(scaled, labels[half:])
    assert np.array_equal(before["top1"], after["top1"])
    error = MulticlassCalibrationError(7)
    assert error(scaled.softmax(1), labels[half:]) < error(logits[half:].softmax(1), labels[half:]) / 4
    assert after["nll"].mean() < before["nll"].mean()


@pytest.mark.parametrize(
    "logits", [torch.eye(4) * 9, torch.full((4, 4), float("nan")), -torch.eye(4), torch.zeros(4, 4)]
)
def test_there_may_be_none(logits):
    assert math.isnan(fitted(logits, torch.arange(4)))
