"""Scores of masks: by hand, against a loop over pixels, against torchmetrics, and of drawn images."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

from zoomexp.metrics.segmentation import (
    COUNTS,
    EdgeIoU,
    boundary_iou,
    by_class,
    class_scores,
    dice,
    edge_width,
    edges,
    image_counts,
    miou,
    pixel_accuracy,
)
from zoomexp.results.predictions import Predictions

K = 4


def masks(seed=0, images=6, height=9, width=12, ignored=True):
    draw = np.random.default_rng(seed)
    truth = (
        draw.integers(0, K - 1, (images, height // 3, width // 3)).repeat(3, 1).repeat(3, 2)
    )  # the last is not there
    said = np.where(draw.random(truth.shape) < 0.6, truth, draw.integers(0, K - 1, truth.shape))
    if ignored:
        truth[draw.random(truth.shape) < 0.1] = 255
    return torch.from_numpy(said), torch.from_numpy(truth)


def kept(said, truth, classes=K):
    return {name: values.numpy() for name, values in image_counts(said, truth, classes).items()}


def test_by_hand():
    """Two images of 2 x 3 pixels; the last pixel of the second is ignored."""
    truth = torch.tensor([[[0, 0, 1], [0, 1, 1]], [[0, 0, 0], [0, 0, 255]]])
    said = torch.tensor([[[0, 1, 1], [0, 1, 1]], [[0, 0, 0], [1, 0, 1]]])
    found = kept(said, truth, 2)
    assert found["both"].tolist() == [[2, 3], [4, 0]]
    assert found["predicted"].tolist() == [[2, 4], [4, 1]] and found["truth"].tolist() == [[3, 3], [5, 0]]
    assert miou(found) == pytest.approx(100 * (6 / 8 + 3 / 5) / 2)
    assert dice(found) == pytest.approx(100 * (12 / 14 + 6 / 8) / 2)
    assert pixel_accuracy(found) == pytest.approx(100 * 9 / 11)


def test_the_edge_by_hand():
    """A square of 5 x 5 in 9 x 9: of width 1 its rim, of width 2 all but its centre; the image ends in the outside."""
    square = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    square[..., 2:7, 2:7] = True
    rim = square.clone()
    rim[..., 3:6, 3:6] = False
    assert torch.equal(edges(square, 1), rim)
    assert edges(square, 2).sum() == 24 and not edges(square, 2)[0, 0, 4, 4]
    assert edges(torch.ones(1, 1, 4, 4, dtype=torch.bool), 1).sum() == 12
    assert [edge_width(*size) for size in ((48, 48), (100, 100), (375, 500))] == [1, 3, 12]


def slow_edge(mask, width):
    """Pixels of a mask for which a pixel within `width`, in the image or beyond it, is not in the mask."""
    height, cols = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(cols):
            near = [
                not (0 <= y + dy < height and 0 <= x + dx < cols) or not mask[y + dy, x + dx]
                for dy in range(-width, width + 1)
                for dx in range(-width, width + 1)
            ]
            found[y, x] = mask[y, x] and any(near)
    return found


@pytest.mark.parametrize("ignored", [False, True])
def test_counts_are_those_of_a_loop(ignored):
    said, truth = masks(images=2, height=60, width=72, ignored=ignored)
    found, width = kept(said, truth), edge_width(60, 72)
    assert width == 2
    for image in range(2):
        counts = (truth[image] != 255).numpy()
        for label in range(K):
            guess, true = ((one[image] == label).numpy() & counts for one in (said, truth))
            edge, true_edge = slow_edge(guess, width), slow_edge(true, width)
            expected = [
                (guess & true).sum(),
                guess.sum(),
                true.sum(),
                (edge & true_edge).sum(),
                (edge | true_edge).sum(),
            ]
            assert [found[name][image, label] for name in COUNTS] == expected


def test_they_are_torchmetrics_own():
    said, truth = masks()
    found = kept(said, truth)
    for measure, metric in (
        (miou, MulticlassJaccardIndex(K, ignore_index=255)),
        (dice, MulticlassF1Score(K, ignore_index=255)),
        (pixel_accuracy, MulticlassAccuracy(K, average="micro", ignore_index=255)),
    ):
        assert measure(found) == pytest.approx(100 * float(metric(said, truth)), rel=1e-6)
    metric = EdgeIoU(K)
    for part in ((said[:2], truth[:2]), (said[2:], truth[2:])):
        metric.update(image_counts(*part, K))
    assert boundary_iou(found) == pytest.approx(100 * float(metric.compute()), rel=1e-6)
    assert np.isnan(by_class(found)["iou"]).tolist() == [False, False, False, True]


def test_the_score_of_drawn_images_is_that_of_these_images():
    said, truth = masks()
    drawn = torch.tensor([3, 0, 3, 5])
    found = Predictions(kept(said, truth)).drawn(drawn.numpy())
    again = kept(said[drawn], truth[drawn])
    for measure in (miou, dice, boundary_iou, pixel_accuracy):
        assert measure(found) == measure(again)


def test_the_truth_itself_has_all_of_it_and_nothing_has_none():
    _, truth = masks()
    said = truth.where(truth != 255, 0)
    for measure in (miou, dice, boundary_iou, pixel_accuracy):
        assert measure(kept(said, truth)) == 100
    nothing = kept(said, torch.full_like(truth, 255))
    assert math.isnan(miou(nothing)) and pixel_accuracy(nothing) == 0


def test_large_batches_are_counted_in_parts(monkeypatch):
    said, truth = masks()
    whole = kept(said, truth)
    monkeypatch.setattr("zoomexp.metrics.segmentation.AT_ONCE", 2 * K * 9 * 12)
    for name, values in kept(said, truth).items():
        np.testing.assert_array_equal(values, whole[name])


def test_a_row_for_each_class():
    table = class_scores(kept(*masks()), list("abcd"))
    assert list(table.columns) == ["class", "pixels", "iou", "dice", "boundary_iou"]
    assert table["pixels"].sum() == (masks()[1] != 255).sum() and np.isnan(table["iou"].iloc[3])
    assert np.nanmean(table["iou"]) == pytest.approx(miou(kept(*masks())))
