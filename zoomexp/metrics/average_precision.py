"""COCO's average precision out of what each image's boxes hit, so that images can be drawn anew without matching again.

In every image and class, and at each of ten IoU thresholds, boxes take the object they overlap best, the surest box
first, each object once; a crowd region takes any number, and those boxes count neither way. Then over all images

    precision at recall r = the highest precision at any recall >= r;  AP = its mean over r = 0, 0.01 .. 1

and the mean over thresholds and the classes that have objects. `metrics.detection` has the library's numbers; this is
for the bootstrap over images, and a test holds both equal. Boxes: x0, y0, x1, y1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # boxes of a class that count in an image
MISSED, HIT, IGNORED = 0, 1, 2


def hits(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, truth: np.ndarray, classes: np.ndarray, crowd: np.ndarray
) -> np.ndarray:
    """What the boxes of one image hit at each threshold.

    Args:
        boxes: (N, 4), what is said.
        scores: (N,).
        labels: (N,) class of each.
        truth: (T, 4), what is there.
        classes: (T,) class of each.
        crowd: (T,) bool, regions of many objects.

    Returns:
        (N, 10) uint8: MISSED, HIT or IGNORED.
    """
    found = np.zeros((len(boxes), len(THRESHOLDS)), np.uint8)
    for label in np.unique(labels):
        said, there = np.flatnonzero(labels == label), np.flatnonzero(classes == label)
        said = said[np.argsort(-scores[said], kind="stable")]
        found[said[MOST:]] = IGNORED
        there = there[np.argsort(crowd[there], kind="stable")]
        if len(there):
            overlap = overlaps(boxes[said[:MOST]], truth[there], crowd[there])
            found[said[:MOST]] = _taken(overlap, crowd[there])
    return found


def overlaps(boxes: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU (N, T) of boxes (N, 4) with objects (T, 4); with a crowd region the share of the box inside it."""
    low, high = (pick(boxes[:, None, part], truth[None, :, part]) for pick, part in
                 ((np.maximum, slice(0, 2)), (np.minimum, slice(2, 4))))  # fmt: skip
    inside = (high - low).clip(0).prod(2)
    own, other = ((one[:, 2:] - one[:, :2]).prod(1) for one in (boxes, truth))
    union = np.where(crowd, own[:, None], own[:, None] + other - inside)
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def _taken(overlap: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(N, 10) of boxes in order, by their overlaps (N, T) with objects, crowd regions last."""
    found = np.zeros((len(overlap), len(THRESHOLDS)), np.uint8)
    every, free = np.arange(len(THRESHOLDS)), np.ones((len(THRESHOLDS), len(crowd)), bool)
    reached = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    for box, own in enumerate(overlap):
        open_ = free & (own >= reached)
        for kind, code in ((~crowd, HIT), (crowd, IGNORED)):  # an object comes before any crowd region
            likely = np.where(open_ & kind, own, -1.0)
            # Of equal overlaps the last: COCO's code goes on as long as an object is at least as good.
            best = likely.shape[1] - 1 - likely[:, ::-1].argmax(1)
            takes = (likely[every, best] >= 0) & (found[box] == MISSED)
            found[box, takes] = code
            free[every[takes], best[takes]] = code == IGNORED
    return found


@dataclass(frozen=True)
class MeanPrecision:
    """AP in percent of what `predictions.npz` keeps of images: `scores`, `labels`, `found`, `objects`, a row each.

    Args:
        thresholds: how many count, from 0.5 on.
    """

    thresholds: int

    def __call__(self, predictions: Mapping[str, np.ndarray]) -> float:
        """Of all images, each once."""
        return self.counted(predictions)(np.ones(len(predictions["scores"]), int))

    def counted(self, predictions: Mapping[str, np.ndarray]) -> Callable[[np.ndarray], float]:
        """The same of images that count several times or not at all.

        The boxes are sorted once. Of a class only its hits are looked at: at a miss precision falls and recall stays.

        Returns:
            From how often each image counts, (N,), to AP in percent; NaN where they hold no object.
        """
        there, found = predictions["objects"], predictions["found"][..., : self.thresholds]
        scores, labels = predictions["scores"].ravel(), predictions["labels"].ravel()
        image = np.arange(len(there)).repeat(found.shape[1])
        order = np.argsort(-scores, kind="stable")
        classes = []
        for label in range(there.shape[1]):
            own = order[labels[order] == label]
            codes = np.ascontiguousarray(found.reshape(len(scores), -1)[own].T)
            hit = np.flatnonzero((codes == HIT).any(0))
            counted = codes != IGNORED  # nearly always all of them, at each threshold
            classes.append((image[own], counted[:1] if counted.all() else counted, hit, codes[:, hit] == HIT))

        def value(counts: np.ndarray) -> float:
            objects = counts @ there
            known = [_class_precision(counts, *classes[label], objects[label]) for label in np.flatnonzero(objects)]
            return 100 * float(np.mean(known)) if known else float("nan")

        return value


def _class_precision(
    counts: np.ndarray, image: np.ndarray, counted: np.ndarray, hit: np.ndarray, right: np.ndarray, objects: int
) -> float:
    """AP of one class, its mean over thresholds.

    Args:
        counts: (N,) how often an image counts.
        image: (D,) that of each box of the class, the surest first.
        counted: (T or 1, D) whether the box counts at each threshold.
        hit: (H,) the boxes that are right at any threshold.
        right: (T, H) at which.
        objects: how many there are.
    """
    weight = counts[image]
    found = (weight[hit] * right).cumsum(1)
    precision = found / np.maximum((weight * counted).cumsum(1)[:, hit], 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # How many of the 101 recalls are reached at a box, and not before it.
    reached = np.searchsorted(RECALLS, np.arange(objects + 1) / objects, side="right")[found]
    reached[:, 1:] -= reached[:, :-1].copy()
    return float((precision * reached).sum() / len(RECALLS) / len(right))


of_predictions = MeanPrecision(len(THRESHOLDS))
at_half = MeanPrecision(1)  # AP50
