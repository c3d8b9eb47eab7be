"""AP against COCO's own evaluation, and by hand."""

from itertools import product

import numpy as np
import pytest

from zoomexp.metrics.average_precision import HIT, IGNORED, MISSED, RECALLS, at_half, hits, of_predictions, overlaps
from zoomexp.metrics.declared import AP
from zoomexp.results.comparison import compare
from zoomexp.results.predictions import Predictions

K = 3


def scenes(images, seed, boxes=12):
    """By image: boxes, scores and labels said; boxes, labels and crowds there; some right, some near, some not."""
    draw = np.random.default_rng(seed)
    for _ in range(images):
        objects = int(draw.integers(0, 6))
        corner, side = draw.integers(0, 60, (objects, 2)), draw.integers(8, 60, (objects, 2))
        truth, classes = np.concatenate([corner, corner + side], 1).astype(np.float64), draw.integers(0, K, objects)
        crowd = draw.random(objects) < 0.2
        which = draw.integers(0, max(1, objects), boxes)
        near = truth[which] if objects else np.tile([5.0, 5, 20, 20], (boxes, 1))
        said = near + draw.normal(0, 1, (boxes, 4)) * draw.choice([0.5, 3, 8], (boxes, 1))
        said[:, 2:] = np.maximum(said[:, 2:], said[:, :2] + 1)
        labels = np.where(draw.random(boxes) < 0.7, classes[which] if objects else 0, draw.integers(0, K, boxes))
        scores = draw.permutation(boxes) / boxes + draw.random() / (10 * boxes)
        yield said, scores, labels, truth, classes, crowd


def average_precision(scores, labels, found, objects):
    """The equation written out, box by box: scores (D,), labels (D,), found (D, 10), objects (K,) to (K, 10)."""
    values = np.full((len(objects), 10), np.nan)
    for label, threshold in product(np.flatnonzero(objects), range(10)):
        hit = counted = 0
        curve = []  # recall and precision after each box
        for box in np.argsort(-scores, kind="stable"):
            if labels[box] == label and found[box, threshold] != IGNORED:
                hit, counted = hit + (found[box, threshold] == HIT), counted + 1
                curve.append((hit / objects[label], hit / counted))
        at = [max((precision for recall, precision in curve if recall >= least), default=0) for least in RECALLS]
        values[label, threshold] = np.mean(at)
    return values


def kept(images):
    rows = [(*one[:3], hits(*one), np.bincount(one[4][~one[5]], minlength=K)) for one in images]
    names = ("boxes", "scores", "labels", "found", "objects")
    return {name: np.stack(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def as_one(scores, labels, found, objects):
    """All boxes of all images as those of one."""
    return {"scores": scores[None], "labels": labels[None], "found": found[None], "objects": objects[None]}


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_cocos_evaluation_gives(seed):
    pytest.importorskip("faster_coco_eval")
    import torch

    from zoomexp.metrics.detection import Precision, Said, There

    images, metric = list(scenes(40, seed)), Precision()
    for said, scores, labels, truth, classes, crowd in images:
        boxes = torch.from_numpy(truth)
        there = There(
            boxes,
            torch.from_numpy(classes),
            torch.from_numpy(crowd),
            (boxes[:, 2:] - boxes[:, :2]).prod(1),
            [len(truth)],
        )
        metric.update(Said(*(torch.from_numpy(value)[None] for value in (said, scores, labels))), there)
    expected, ours = metric.compute(), kept(images)
    assert of_predictions(ours) == pytest.approx(float(expected["ap"]), abs=1e-4)
    by_class = average_precision(
        ours["scores"].ravel(), ours["labels"].ravel(), ours["found"].reshape(-1, 10), ours["objects"].sum(0)
    )
    assert 100 * np.nanmean(by_class[:, 0]) == pytest.approx(float(expected["ap50"]), abs=1e-4)
    assert 100 * np.nanmean(by_class[:, 5]) == pytest.approx(float(expected["ap75"]), abs=1e-4)
    assert 5 < float(expected["ap"]) < 95


def test_the_truth_itself_has_all_of_it_and_nothing_has_none():
    images = [(truth, np.ones(len(truth)), classes, truth, classes, np.zeros(len(truth), bool))
              for *_, truth, classes, crowd in scenes(20, 0) if len(truth)]  # fmt: skip
    found = np.concatenate([hits(*one) for one in images])
    labels = np.concatenate([one[2] for one in images])
    whole = as_one(np.ones(len(labels)), labels, found, np.bincount(labels, minlength=K + 1))
    assert of_predictions(whole) == at_half(whole) == pytest.approx(100)
    nothing = as_one(np.ones(2), np.array([0, 0]), np.zeros((2, 10), np.uint8), np.array([1]))
    assert of_predictions(nothing) == 0
    assert np.isnan(of_predictions(nothing | {"objects": np.array([[0]])}))


def test_by_hand():
    truth = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 80, 40]])
    crowd, classes = np.array([False, False, True]), np.zeros(3, int)
    said = np.array([[0.0, 0, 10, 6], [0, 0, 10, 10], [20, 0, 30, 10], [50, 10, 60, 20], [90, 90, 95, 95]])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    np.testing.assert_allclose(overlaps(said, truth, crowd)[[0, 1, 3], [0, 0, 2]], [0.6, 1, 1])
    found = hits(said, scores, np.zeros(5, int), truth, classes, crowd)
    # at 0.5 to 0.6 the first box takes the first object, which the second then finds taken; above, the second has it
    np.testing.assert_array_equal(found[:, 0], [HIT, MISSED, HIT, IGNORED, MISSED])
    np.testing.assert_array_equal(found[:, 5], [MISSED, HIT, HIT, IGNORED, MISSED])
    whole = as_one(scores, np.zeros(5, int), found, np.array([2]))
    # precision 1 up to recall 1/2, then 2/3: 51 and 50 of the 101 recalls; above 0.6 it is 2/3 at all of them
    assert at_half(whole) == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert of_predictions(whole) == pytest.approx(0.3 * at_half(whole) + 0.7 * 200 / 3)


def test_only_the_surest_hundred_of_a_class_count():
    said, truth = np.tile([0.0, 0, 1, 1], (101, 1)), np.array([[50.0, 50, 60, 60]])
    said[0] = truth
    found = hits(said, np.arange(101.0), np.zeros(101, int), truth, np.zeros(1, int), np.zeros(1, bool))
    assert (found[0] == IGNORED).all() and (found[1:] == MISSED).all()


def copied(run, images):
    """AP by class and threshold of images that are there as often as they were drawn."""
    found = run["found"][images].reshape(-1, 10)
    return average_precision(
        run["scores"][images].ravel(), run["labels"][images].ravel(), found, run["objects"][images].sum(0)
    )


def test_images_that_count_several_times_have_the_precision_of_their_copies():
    run = kept(scenes(60, 7))
    assert (run["found"] == IGNORED).any()
    draw = np.random.default_rng(0)
    for size in (60, 60, 3, 1):
        images = draw.integers(60, size=size)
        expected, counts = copied(run, images), np.bincount(images, minlength=60)
        for measure, values in ((of_predictions, expected), (at_half, expected[:, :1])):
            whole = 100 * np.nanmean(values) if not np.isnan(values).all() else np.nan
            assert measure.counted(run)(counts) == pytest.approx(whole, abs=1e-9, nan_ok=True)


def test_two_detectors_are_compared_on_images_drawn_anew():
    runs = [kept(scenes(40, seed)) for seed in (0, 1)]
    sides = [Predictions(run) for run in runs]
    found, generator = compare("test/ap", AP, *([side] for side in sides)), np.random.default_rng(0)
    drawn = [side.redrawn(of_predictions) for side in sides]
    for place in range(1, 9):
        images = generator.integers(40, size=40)
        assert [values[place] for values in drawn] == pytest.approx(
            [100 * np.nanmean(copied(run, images)) for run in runs]
        )
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile((drawn[0] - drawn[1])[1:], [0.025, 0.975])))
    assert found.difference == pytest.approx(of_predictions(runs[0]) - of_predictions(runs[1]))
