"""Binary cross-entropy against its formula in numpy."""

import numpy as np
import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.losses.bce import BCE

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])


def expected(targets: np.ndarray) -> float:
    right = 1 / (1 + np.exp(-LOGITS))
    return float(-(targets * np.log(right) + (1 - targets) * np.log(1 - right)).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_labels_and_mixed_targets(smoothing):
    loss = BCE(label_smoothing=smoothing)
    labels = (1 - smoothing) * np.eye(3)[[0, 2]] + smoothing / 3
    found = loss(torch.tensor(LOGITS), torch.tensor([0, 2]))
    assert list(found) == ["bce"] and found["bce"].item() == pytest.approx(expected(labels))
    mixed = np.array([[0.3, 0.7, 0.0], [0.2, 0.2, 0.6]])
    assert loss(torch.tensor(LOGITS), torch.tensor(mixed))["bce"].item() == pytest.approx(expected(mixed))
    assert loss.compare(torch.tensor(LOGITS), torch.tensor(mixed)).item() == pytest.approx(expected(mixed))


def test_refusals():
    with pytest.raises(InputError, match=r"loss\.label_smoothing=1 must be a number in \[0, 1\)"):
        BCE(label_smoothing=1)
