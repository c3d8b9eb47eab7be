"""Scores of a detector, COCO's, by torchmetrics and faster-coco-eval; extra `detection` of the package."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoomexp.boxes import Detections, corners
from zoomexp.errors import InputError
from zoomexp.metrics.average_precision import RECALLS, THRESHOLDS

NAMES = {"map": "ap", "map_50": "ap50", "map_75": "ap75", "map_small": "ap_small", "map_medium": "ap_medium",
         "map_large": "ap_large", "mar_100": "ar100"}  # fmt: skip


class Said(NamedTuple):
    """Boxes as they are scored: `boxes` (B, N, 4), x0, y0, x1, y1 in pixels; `scores` and `labels` (B, N)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class There(NamedTuple):
    """The objects of B images, T in all: `boxes` (T, 4), `labels`, `crowd` and `area` (T,); `counts` of each image."""

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    area: Tensor
    counts: Sequence[int]


class Precision(nn.Module):
    """AP and its kin, percentages of what has been seen since the last `reset`.

    Raises:
        InputError: faster-coco-eval is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        if find_spec("faster_coco_eval") is None:
            raise InputError("task=detection: needs a package: pip install 'zoomexp[detection]' or faster-coco-eval")
        from torchmetrics.detection import MeanAveragePrecision

        # COCO's own thresholds: torchmetrics' (1.9) are rounded to single precision, and a recall of 0.2 misses 0.2.
        exact = {"iou_thresholds": THRESHOLDS.tolist(), "rec_thresholds": RECALLS.tolist()}
        self.metric = MeanAveragePrecision(backend="faster_coco_eval", **exact)
        self.metric.warn_on_many_detections = False  # the 100 surest count, as in COCO

    def update(self, said: Said, there: There) -> None:
        """Add a batch."""
        parts = zip(*(values.split(list(there.counts)) for values in there[:4]), strict=True)
        truths = [{"boxes": boxes, "labels": labels, "iscrowd": crowd.long(), "area": area}
                  for boxes, labels, crowd, area in parts]  # fmt: skip
        predictions = [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(*said, strict=True)]
        self.metric.update(predictions, truths)

    def compute(self) -> dict[str, Tensor]:
        """By key of the quantities, in percent; those that no object is of are left out."""
        values = {NAMES[name]: value for name, value in self.metric.compute().items() if name in NAMES}
        return {name: 100 * value for name, value in values.items() if value >= 0}

    def reset(self) -> None:
        """Forget everything."""
        self.metric.reset()


def said_of(outputs: Detections, size: Tensor) -> Said:
    """What a detector says, as it is scored: the likeliest class but "no object", in pixels of images of a size (B, 2).

    All boxes are kept, as YOLOS keeps them: no threshold, no suppression.
    """
    scores, labels = surest(outputs)
    scale = size.flip(1).repeat(1, 2).to(scores.dtype)  # width, height, width, height
    return Said(corners(outputs.boxes.detach().float()) * scale[:, None], scores, labels)


def surest(outputs: Detections) -> tuple[Tensor, Tensor]:
    """The likeliest class but "no object" of each box, and how likely it is: scores (B, N) in [0, 1], labels (B, N)."""
    scores, labels = outputs.logits.detach().float().softmax(2)[..., :-1].max(2)
    return scores, labels


def objects_by_class(there: There, classes: int) -> Tensor:
    """How many objects of each class each image has, crowds left out, (B, K) int32."""
    counts = torch.tensor(there.counts, device=there.labels.device)
    image = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    by_class = torch.zeros(len(counts), classes, dtype=torch.int32, device=counts.device)
    ones = (~there.crowd.bool()).to(torch.int32)
    return by_class.index_put((image, there.labels), ones, accumulate=True)
