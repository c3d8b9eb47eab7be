"""A linear probe and nearest neighbours: how much of the classes a network's features already hold.

Nothing of the network is trained but its last layer, and that not by gradient steps: features of all training images
are computed once, unaugmented, and kept (see `zoomexp.tasks.features`); logistic regression on them becomes the last
layer, with the strength of its L2 penalty chosen on the validation images. Weighted nearest neighbours as in
"Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (Wu et al. 2018, arXiv 1805.01978), 3.4:

    score of class c = sum over the k nearest training images of class c of exp(cos(f_i, f) / temperature)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from zoomexp.arguments import finite, integer, list_of
from zoomexp.errors import InputError
from zoomexp.metrics.declared import KNN_ACC1, PROBE
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.contract import Batch
from zoomexp.tasks.features import features_of, head_of, watching
from zoomexp.upstream.trainer_parts import data_of


class Probe(Classifier):
    """One pass over the training images, then a test; `trainer.max_epochs` and the optimizer are not used.

    Further metrics: `test/knn_acc1`, percent; `train/penalty`, the C that was chosen, and `train/probe_acc1`, percent.

    Args:
        cache: Folder of the features.
        neighbours: k, at least 1; all training images if there are fewer.
        temperature: Above 0.
        penalties: The C of scikit-learn's `LogisticRegression` to choose from; the middle one where nothing validates.
        arguments: See `Classifier`.

    Raises:
        InputError: A value out of its range, a network that reads more than images or has no single last layer, mixing,
            or more than one process.
    """

    quantities = (*Classifier.quantities, *PROBE)
    work = "one pass over the images, and a linear layer fitted to their features"

    def __init__(
        self,
        *,
        cache: str | Path,
        neighbours: int = 20,
        temperature: float = 0.07,
        penalties: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        integer("task.neighbours", neighbours)
        finite("task.temperature", temperature, lambda value: value > 0, "a finite number above 0")
        list_of("task.penalties", penalties, (int, float), "numbers above 0")
        if not penalties or min(penalties) <= 0:
            raise InputError(f"task.penalties={list(penalties)} must be at least one number above 0")
        if tuple(self.inputs) != ("image",) or self.mixing is not None:
            raise InputError("task=probe: needs mixing=none and a network that reads images alone")
        path, head = head_of(self.model)
        if head.bias is None:
            raise InputError(f"task=probe: needs a last layer with a bias, and {path} has none")
        self.cache, self.neighbours, self.temperature = Path(cache), neighbours, temperature
        self.penalties, self.knn = tuple(penalties), MeanMetric()
        self._bank: tuple[Tensor, Tensor] | None = None

    def on_fit_start(self) -> None:
        """Fit the last layer; what follows is one batch, for the record, and the validation."""
        if self.trainer.world_size > 1:
            raise InputError("task=probe: works in one process; trainer.devices=1")
        self.trainer.fit_loop.max_epochs, self.trainer.limit_train_batches = 1, 1
        self.model.eval()
        data = data_of(self.trainer)
        train = features_of(self.model, data, "train", self.cache)
        val = None if data.part("val") is None else features_of(self.model, data, "val", self.cache)
        _, head = head_of(self.model)
        self.linear = fit_linear(train, val, len(head.weight), self.penalties)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(self.linear["weight"]))
            head.bias.copy_(torch.from_numpy(self.linear["bias"]))

    def configure_optimizers(self) -> Optimizer:
        """An optimizer of rate 0: its one step changes nothing, and what follows steps works."""
        optimizer = self._make_optimizer(self.model)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        return optimizer

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """Score one batch, so that the record has the loss; its gradient is 0."""
        self.model.eval()
        with torch.no_grad():
            logits = self.outputs(batch)
            terms = self.loss(logits, batch["label"], maps={}, epoch=0.0)
        self.log_dict({"train/penalty": self.linear["penalty"], "train/probe_acc1": self.linear["train"]})
        loss = self.counted(terms, len(logits), {"acc1": logits.argmax(1) == batch["label"]})
        return loss + 0.0 * head_of(self.model)[1].weight.sum()

    def test_step(self, batch: Batch, number: int) -> None:
        """Score one batch by the probe and by its neighbours."""
        _, head = head_of(self.model)
        with watching(head) as seen:
            super().test_step(batch, number)
        features, labels = self._train_features()
        voted = knn_votes(seen[-1].float(), features, labels, len(head.weight), self.neighbours, self.temperature)
        self.knn.update((voted.argmax(1) == batch["label"]).float())

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        super().on_test_epoch_end()
        self.log(f"test/{KNN_ACC1.key}", 100 * self.knn.compute())

    def _train_features(self) -> tuple[Tensor, Tensor]:
        if self._bank is None:
            found = features_of(self.model, data_of(self.trainer), "train", self.cache)
            features, labels = (torch.from_numpy(values).to(self.device) for values in found)
            self._bank = features, labels
        return self._bank


def fit_linear(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray] | None,
    num_classes: int,
    penalties: Sequence[float],
) -> dict[str, Any]:
    """Logistic regression on standardised features, as a linear layer of the features themselves.

    Args:
        train: Features (N, D) and labels (N,).
        val: The same of the images that choose the penalty; None: the middle one.
        num_classes: K.
        penalties: C of scikit-learn.

    Returns:
        weight (K, D), bias (K,), the penalty, and the accuracy in percent on `train`. A class without training images
        never comes first.
    """
    features, labels = train[0].astype(np.float64), train[1]
    mean, std = features.mean(0), features.std(0) + 1e-6
    best, chosen = -1.0, penalties
    if val is None:
        chosen = [sorted(penalties)[len(penalties) // 2]]
    for penalty in chosen:
        model = LogisticRegression(C=penalty, max_iter=2000).fit((features - mean) / std, labels)
        score = 0.0 if val is None else model.score((val[0] - mean) / std, val[1])
        if score > best:
            best, kept, found = score, model, penalty
    weight, bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, -1e4)
    two = len(kept.classes_) == 2  # scikit-learn then has one row, the log odds of the second
    weight[kept.classes_] = np.concatenate([-kept.coef_, kept.coef_]) / 2 if two else kept.coef_
    bias[kept.classes_] = np.concatenate([-kept.intercept_, kept.intercept_]) / 2 if two else kept.intercept_
    bias = bias - (weight / std) @ mean
    accuracy = 100 * kept.score((features - mean) / std, labels)
    return {"weight": weight / std, "bias": bias, "penalty": float(found), "train": float(accuracy)}


def knn_votes(
    features: Tensor, bank: Tensor, labels: Tensor, num_classes: int, neighbours: int, temperature: float
) -> Tensor:
    """The score of each class (B, K) by the nearest of N known features.

    Args:
        features: (B, D).
        bank: (N, D).
        labels: Of the bank, (N,).
        num_classes: K.
        neighbours: k; at most N count.
        temperature: Of the weights exp(cosine / temperature).

    >>> votes = knn_votes(torch.tensor([[1.0, 0.0]]), torch.eye(2), torch.tensor([1, 0]), 2, 1, temperature=1)
    >>> votes.round(decimals=4)  # the first of the bank alone: exp(1)
    tensor([[0.0000, 2.7183]])
    """
    closeness = F.normalize(features, dim=1) @ F.normalize(bank, dim=1).T
    nearest = closeness.topk(min(neighbours, len(bank)), dim=1)
    weights = (nearest.values / temperature).exp()
    return torch.zeros(len(features), num_classes, dtype=weights.dtype, device=features.device).scatter_add(
        1, labels[nearest.indices], weights
    )
