"""What a classifier is scored by: metrics over a split, and what `predictions.npz` keeps of each test image.

Each is declared in `declared.CLASSIFICATION` under the same name.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.utilities import dim_zero_cat

from zoomexp.metrics.calibration import calibration_error
from zoomexp.metrics.ranking import KEPT, MOST_CLASSES
from zoomexp.metrics.selection import risk_over_coverage


def scores(num_classes: int) -> MetricCollection:
    """The metrics by key; each is updated with logits (B, K) and labels (B,), and shares are given in [0, 1]."""
    metrics: dict[str, Metric | MetricCollection] = {
        "acc1": MulticlassAccuracy(num_classes, average="micro"),
        "acc5": MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro"),
        "nll": LogLikelihood(),
        "ece": CalibrationError(),
        "brier": Brier(),
        "aurc": RiskOverCoverage(),
    }
    return MetricCollection(metrics, compute_groups=False)


def scaled_scores() -> MetricCollection:
    """What a temperature changes, of logits that were divided by it: as `scores`, the keys with `_t`."""
    return MetricCollection({"nll_t": LogLikelihood(), "ece_t": CalibrationError(), "brier_t": Brier()},
                            compute_groups=False)  # fmt: skip


def outcomes(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What is kept of each test image.

    Args:
        logits: (B, K).
        labels: (B,) int64.

    Returns:
        (B,) each: `top1`, the class that was said; the probabilities of that class, `confidence`, and of the true one,
        `label_confidence`; `acc1` and `acc5`, whether the label is the first or among the first min(5, K); `nll`, the
        negative log-likelihood of the label, in nats; `brier`, the probabilities' squared distance from the label. Of
        few classes (`ranking.MOST_CLASSES`) also the `probabilities` of all, (B, K).

    >>> found = outcomes(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    >>> {name: found[name].tolist() for name in ("top1", "confidence", "acc1", "acc5", "brier", "probabilities")}
    {'top1': [0], 'confidence': [0.5], 'acc1': [False], 'acc5': [True], 'brier': [0.5], 'probabilities': [[0.5, 0.5]]}
    """
    logits = logits.float()
    first, shares = logits.argmax(1), logits.softmax(1)
    sure, true = (shares.gather(1, which[:, None])[:, 0] for which in (first, labels))
    best = logits.topk(min(5, logits.shape[1])).indices
    return {
        "top1": first,
        "confidence": sure,
        "label_confidence": true,
        "acc1": first == labels,
        "acc5": (best == labels[:, None]).any(1),
        "nll": F.cross_entropy(logits, labels, reduction="none"),
        "brier": brier(shares, labels),
        **({KEPT: shares} if shares.shape[1] <= MOST_CLASSES else {}),
    }


def brier(shares: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of probabilities (B, K) from one for the label, zero for the others: (B,) in [0, 2].

    Brier 1950, in its original form, the sum over classes.

    >>> brier(torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), torch.tensor([0, 0, 0])).tolist()
    [0.0, 0.5, 2.0]
    """
    return (shares - F.one_hot(labels, shares.shape[1])).square().sum(1)


class LogLikelihood(MeanMetric):
    """Mean negative log-likelihood of the labels in nats: the cross-entropy, whatever the loss adds to it."""

    def __init__(self) -> None:
        super().__init__(nan_strategy=float("nan"))  # "warn" would drop a NaN, and say so in every run that diverges

    def update(self, logits: Tensor, labels: Tensor) -> None:  # type: ignore[override]  # other arguments by design
        """Add logits (B, K) of images with labels (B,)."""
        super().update(F.cross_entropy(logits.float(), labels, reduction="none"))


class Brier(MeanMetric):
    """Mean Brier score."""

    def __init__(self) -> None:
        super().__init__(nan_strategy=float("nan"))

    def update(self, logits: Tensor, labels: Tensor) -> None:  # type: ignore[override]  # other arguments by design
        """Add logits (B, K) of images with labels (B,)."""
        super().update(brier(logits.float().softmax(1), labels))


class OfConfidence(Metric):
    """A measure of all images' confidences and of which are right, as a share: two numbers of each image are held."""

    full_state_update = False
    confidence: list[Tensor]
    right: list[Tensor]
    measure: ClassVar[Callable[..., float]]  # of (N,) and (N,), in percent

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("confidence", [], dist_reduce_fx="cat")
        self.add_state("right", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits (B, K) of images with labels (B,)."""
        best, said = logits.float().softmax(1).max(1)
        self.confidence.append(best)
        self.right.append((said == labels).float())

    def compute(self) -> Tensor:
        """The measure in [0, 1], a scalar."""
        confidence, right = dim_zero_cat(self.confidence), dim_zero_cat(self.right)
        share = type(self).measure(confidence.cpu().numpy(), right.cpu().numpy()) / 100
        return torch.tensor(share, dtype=torch.float32, device=confidence.device)


class CalibrationError(OfConfidence):
    """`calibration.calibration_error`."""

    measure = staticmethod(calibration_error)


class RiskOverCoverage(OfConfidence):
    """`selection.risk_over_coverage`."""

    measure = staticmethod(risk_over_coverage)
