"""Set prediction against all assignments tried, its terms one object at a time, and the transformers library's."""

import itertools
import math

import pytest
import torch
from torchvision.ops import box_convert, generalized_box_iou

from zoomexp.boxes import Detections, Objects
from zoomexp.errors import InputError
from zoomexp.losses.matching import Costs, match
from zoomexp.losses.set_prediction import SetPrediction

K, N = 3, 5


def scene(counts, seed=0):
    draw = torch.Generator().manual_seed(seed)
    said = Detections(torch.randn(len(counts), N, K + 1, generator=draw, requires_grad=True),
                      torch.rand(len(counts), N, 4, generator=draw).requires_grad_())  # fmt: skip
    labels = torch.randint(0, K, (sum(counts),), generator=draw)
    return said, Objects(torch.rand(sum(counts), 4, generator=draw), labels, counts)


def giou(one, other):
    return generalized_box_iou(*(box_convert(box[None], "cxcywh", "xyxy") for box in (one, other)))[0, 0]


def cost(logits, said, label, box):
    return -logits.softmax(0)[label] + 5 * (said - box).abs().sum() - 2 * giou(said, box)


@torch.no_grad()
def best_pairs(said, there):
    """Rows of predictions and of objects: of all assignments of each image the cheapest."""
    pairs, first = set(), 0
    for image, count in enumerate(there.counts):
        own = range(first, first + count)
        costs = [[float(cost(said.logits[image, i], said.boxes[image, i], there.labels[j], there.boxes[j]))
                  for j in own] for i in range(N)]  # fmt: skip
        few, many = sorted((N, count))
        tried = itertools.permutations(range(many), few)
        ways = [[(i, c) if count > N else (c, i) for i, c in enumerate(way)] for way in tried]
        best = min(ways, key=lambda way: sum(costs[i][j] for i, j in way))
        pairs |= {(image * N + i, first + j) for i, j in best}
        first += count
    return pairs


@pytest.mark.parametrize("counts", [[2, 0, 3], [1, 1, 1], [6, 2, 5]], ids=["empty", "one", "more"])
def test_the_assignment_is_the_cheapest_of_all(counts):
    said, there = scene(counts)
    assert {*zip(*(rows.tolist() for rows in match(said, there, Costs())), strict=True)} == best_pairs(said, there)


@pytest.mark.parametrize("counts", [[2, 0, 3], [0, 0, 0]], ids=["objects", "none"])
def test_the_terms_written_out(counts):
    said, there = scene(counts)
    pairs = best_pairs(said, there) if sum(counts) else set()
    partner, logs = dict(pairs), said.logits.log_softmax(2).flatten(0, 1)
    labels = [int(there.labels[partner[row]]) if row in partner else K for row in range(3 * N)]
    weights = [0.1 if label == K else 1.0 for label in labels]
    by_class = sum(-w * logs[row, label] for row, (w, label) in enumerate(zip(weights, labels, strict=True)))
    boxes, count = said.boxes.flatten(0, 1), max(1, sum(counts))
    expected = {
        "class": by_class / sum(weights),
        "box": 5 * sum((boxes[i] - there.boxes[j]).abs().sum() for i, j in pairs) / count + 0 * boxes.sum(),
        "giou": 2 * sum(1 - giou(boxes[i], there.boxes[j]) for i, j in pairs) / count + 0 * boxes.sum(),
    }
    terms = SetPrediction()(said, there)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-5, atol=1e-6)
    inputs = [said.logits, said.boxes]
    ours, theirs = (torch.autograd.grad(sum(one.values()), inputs) for one in (terms, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_every_weight_has_its_place():
    said, there = scene([2, 0, 3])
    plain = SetPrediction()(said, there)
    heavier = SetPrediction(label_weight=3, box_weight=7, giou_weight=1)(said, there)
    for name, factor in {"class": 3, "box": 7 / 5, "giou": 1 / 2}.items():
        torch.testing.assert_close(heavier[name], factor * plain[name])
    assert not torch.equal(SetPrediction(eos=1.0)(said, there)["class"], plain["class"])
    only = [{*zip(*(rows.tolist() for rows in match(said, there, costs)), strict=True)}
            for costs in (Costs(1, 0, 0), Costs(0, 1, 0), Costs(0, 0, 1))]  # fmt: skip
    assert len({frozenset(pairs) for pairs in only}) == 3


def test_in_half_precision_costs_and_terms_are_single():
    said, there = scene([2, 0, 3])
    half = Detections(*(part.bfloat16() for part in said))
    single = Detections(*(part.float() for part in half))
    for name, value in SetPrediction()(half, there).items():
        assert value.dtype == torch.float32 and torch.equal(value, SetPrediction()(single, there)[name])


def test_what_diverged_gives_nan_and_no_error_of_scipy():
    said, there = scene([2, 0, 3])
    broken = Detections(said.logits * math.nan, said.boxes * math.nan)
    assert all(value.isnan() for value in SetPrediction()(broken, there).values())


def test_against_the_transformers_library():
    reason = "needs transformers (pip install -e '.[oracles]')"
    losses = pytest.importorskip("transformers.loss.loss_for_object_detection", reason=reason)
    for seed in range(3):
        said, there = scene([2, 0, 5], seed)
        matcher = losses.HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
        criterion = losses.ImageLoss(matcher=matcher, num_classes=K, eos_coef=0.1, losses=["labels", "boxes"])
        targets = [{"class_labels": labels, "boxes": boxes} for labels, boxes in
                   zip(there.labels.split(there.counts), there.boxes.split(there.counts), strict=True)]  # fmt: skip
        theirs = criterion({"logits": said.logits, "pred_boxes": said.boxes}, targets)
        ours = SetPrediction()(said, there)
        torch.testing.assert_close(ours["class"], theirs["loss_ce"])
        torch.testing.assert_close(ours["box"], 5 * theirs["loss_bbox"])
        torch.testing.assert_close(ours["giou"], 2 * theirs["loss_giou"])


@pytest.mark.parametrize("field", ["label_cost", "box_cost", "giou_cost", "label_weight", "box_weight", "giou_weight"])
def test_numbers_below_zero_are_refused(field):
    with pytest.raises(InputError, match=f"loss.{field}=-1 must be a finite number, at least 0"):
        SetPrediction(**{field: -1})
