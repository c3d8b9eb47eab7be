"""Losses against their formulas in numpy."""

import numpy as np
import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.losses.sparse_gate import SparseGate

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
TARGET = np.array([0, 2])


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("loss", [CrossEntropy, SparseGate])
def test_cross_entropy_with_smoothing(loss, smoothing):
    targets = (1 - smoothing) * np.eye(3)[TARGET] + smoothing / 3
    expected = -(targets * log_softmax(LOGITS)).sum(1).mean()
    maps = {"a": torch.zeros(2, 1, 2, 2)}
    terms = loss(label_smoothing=smoothing)(torch.tensor(LOGITS), torch.tensor(TARGET), maps)
    assert terms["cross_entropy"].item() == pytest.approx(expected)


def test_cross_entropy_takes_probabilities():
    mixed = np.array([[0.3, 0.7, 0.0], [0.2, 0.2, 0.6]])
    terms = CrossEntropy()(torch.tensor(LOGITS), torch.tensor(mixed))
    assert list(terms) == ["cross_entropy"]
    assert terms["cross_entropy"].item() == pytest.approx(-(mixed * log_softmax(LOGITS)).sum(1).mean())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_penalty_of_several_maps(reduction):
    rng = np.random.default_rng(0)
    maps = {"a": rng.random((2, 1, 3, 5)), "b": rng.random((2, 1, 2, 2))}
    over = np.mean if reduction == "mean" else (lambda value: value.sum(axis=(1, 2, 3)).mean())
    expected = 0.3 * np.mean([over(value) for value in maps.values()])
    loss = SparseGate(sparsity=0.3, reduction=reduction)
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in maps.items()}
    terms = loss(torch.tensor(LOGITS), torch.tensor(TARGET), tensors)
    assert set(terms) == {"cross_entropy", "sparsity"}
    assert terms["sparsity"].item() == pytest.approx(expected)
    terms["sparsity"].backward()
    for name, value in maps.items():
        share = value.size if reduction == "mean" else len(value)
        np.testing.assert_allclose(tensors[name].grad, np.full(value.shape, 0.3 / 2 / share))


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0), (0.5, 0.1), (2, 0.4), (4, 0.8), (9, 0.8)])
def test_the_weight_rises_linearly(epoch, weight):
    loss = SparseGate(sparsity=0.8, warmup_epochs=4)
    maps = {"a": torch.ones(2, 1, 2, 2)}
    terms = loss(torch.tensor(LOGITS), torch.tensor(TARGET), maps, epoch=epoch)
    assert terms["sparsity"].item() == pytest.approx(weight)
    assert SparseGate(sparsity=0.8).weight(epoch) == 0.8


@pytest.mark.parametrize(
    ("loss", "arguments", "field"),
    [
        (CrossEntropy, {"label_smoothing": 1}, "label_smoothing"),
        (CrossEntropy, {"label_smoothing": -0.1}, "label_smoothing"),
        (SparseGate, {"sparsity": -1}, "sparsity"),
        (SparseGate, {"reduction": "max"}, "reduction"),
        (SparseGate, {"warmup_epochs": -1}, "warmup_epochs"),
    ],
)
def test_refusals(loss, arguments, field):
    with pytest.raises(InputError, match=rf"^loss\.{field}={arguments[field]!r} must be "):
        loss(**arguments)


@pytest.mark.parametrize("weights", ["balanced", [2.0, 0.5, 1.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights(weights, smoothing):
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 3), torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    loss = CrossEntropy(smoothing, class_weights=weights)
    loss.weigh([6, 4, 2])
    by_class = torch.tensor([12 / 18, 1.0, 2.0] if weights == "balanced" else weights)
    targets = torch.nn.functional.one_hot(labels, 3) * (1 - smoothing) + smoothing / 3
    costs = -(targets * by_class * logits.log_softmax(1)).sum(1)  # the equation in PyTorch's documentation
    torch.testing.assert_close(loss(logits, labels)["cross_entropy"], costs.sum() / by_class[labels].sum())
    assert not loss.state_dict()


@pytest.mark.parametrize(
    ("weights", "counts", "message"),
    [("equal", None, "loss.class_weights='equal' must be a list of numbers, one per class; or balanced, or null"),
     ([1, -1], None, r"loss.class_weights\[1\]=-1 must be a finite number, at least 0"),
     ([1, 1], [3, 3, 3], "loss.class_weights has 2 values; there are 3 classes"),
     ("balanced", [3, 0], "loss.class_weights=balanced: a class has no training images")],
)  # fmt: skip
def test_class_weights_that_are_none(weights, counts, message):
    with pytest.raises(InputError, match=message):
        CrossEntropy(class_weights=weights).weigh(counts)
