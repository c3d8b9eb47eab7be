"""The controls of where to zoom: the true boxes, and a scorer's own scores at random places."""

from functools import partial

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn
from torch.nn import functional as F

from tests.tokens.hosts import TINY, close, randomised
from zoomexp.errors import InputError
from zoomexp.tokens.cells import cell_scores
from zoomexp.tokens.scorers.boxes import Boxes
from zoomexp.tokens.scorers.shuffled import Shuffled
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.yolos import YOLOS
from zoomexp.tokens.zoomvit import ZoomViT

K, N = 4, 3
TRUTH = torch.tensor([[[3.0, 5, 29, 12], [40, 30, 42, 32]], [[0.0, 0, 0, 0], [8, 16, 20, 31]]])


class Bright(nn.Module):
    """A patch's score is its brightness."""

    def forward(self, images, maps=None):
        return F.avg_pool2d(20 * images.mean(1, keepdim=True), 8)[:, 0].sigmoid()


def detector(scorer, **options):
    torch.manual_seed(0)
    tokens = partial(ZoomViT, scorer=scorer, **{"eta": 0.5, "alpha": 0.7, "zfe": "none"} | options)
    return randomised(YOLOS(VisionTransformer(**TINY), num_classes=K, boxes=N, tokens=tokens)).eval()


def test_the_oracle_written_out():
    scores = Boxes(image_size=32, patch_size=8)(torch.zeros(2, 3, 32, 48), truth=TRUTH)
    for image, boxes in enumerate(TRUTH.tolist()):
        for row in range(4):
            for column in range(6):
                x, y = 8 * column + 4, 8 * row + 4
                there = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes if x1 > x0 and y1 > y0]
                inside = any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in there)
                holds = any(abs((x0 + x1) / 2 - x) <= 4 and abs((y0 + y1) / 2 - y) <= 4 for x0, y0, x1, y1 in there)
                assert scores[image, row, column] == float(inside or holds)
    assert scores[0, 3, 5] == 1  # of two pixels, between the centres of patches
    empty = Boxes(image_size=32, patch_size=8)(torch.zeros(2, 3, 32, 48), truth=torch.zeros(2, 0, 4))
    assert not empty.any()


@pytest.mark.parametrize("options", [{}, {"eta": 2}])
def test_a_detector_zooms_where_the_objects_are(options):
    net, images = detector(Boxes, **options), torch.randn(2, 3, 48, 48)
    sizes = torch.tensor([[32, 48], [48, 32]])
    assert net.inputs == ("image", "size", "truth")
    together, lengths = net(images, sizes, TRUTH), net.lengths.tolist()
    eta = net.host.eta
    for i, (height, width) in enumerate(sizes.tolist()):
        scores = net.host.scorer(images[i : i + 1, :, :height, :width], truth=TRUTH[i : i + 1])
        zoomed = cell_scores(scores, eta).coarse[0] >= 0.7
        assert lengths[i] == 1 + N + len(zoomed) + 3 * int(zoomed.sum())
        alone = net(images[i : i + 1, :, :height, :width], None, TRUTH[i : i + 1])
        close(alone.boxes[0], together.boxes[i])
    with pytest.raises(InputError, match=r"tokens\.scorer=boxes: needs the images' boxes; it goes with task=detection"):
        net(images, sizes)


@pytest.mark.parametrize("eta", [0.5, 2])
def test_shuffled_scores_leave_every_image_its_tokens_at_every_threshold(eta):
    images = torch.randn(4, 3, 32, 32)
    plain = Bright()(images)
    for training in (True, False):
        moved = Shuffled(Bright(), image_size=32, patch_size=8).train(training)(images)
        one, other = (cell_scores(scores, eta).coarse.sort(1).values for scores in (plain, moved))
        assert torch.equal(one, other) and not torch.equal(plain, moved)
        assert torch.equal(plain.flatten(1).sort(1).values, moved.flatten(1).sort(1).values)
        assert not torch.equal(moved[0].argsort(), moved[1].argsort())
    odd = Shuffled(Bright(), image_size=24, patch_size=8).eval().rearranged(torch.arange(9.0).view(1, 3, 3))
    assert odd.flatten().sort().values.tolist() == list(range(9))


def test_shuffled_scores_of_images_of_any_size_have_as_many_tokens():
    images, sizes = torch.randn(3, 3, 48, 48), torch.tensor([[32, 48], [48, 48], [16, 32]])
    net, other = detector(Bright), detector(partial(Shuffled, Bright))
    net(images, sizes)
    other(images, sizes)
    assert net.lengths.tolist() == other.lengths.tolist()
    assert any(
        not torch.equal(one.scores, two.scores) for (_, one), (_, two) in zip(net.looks, other.looks, strict=True)
    )


def test_places_are_drawn_again_with_every_test():
    scorer, images = Shuffled(Bright(), image_size=32, patch_size=8).eval(), torch.randn(2, 3, 32, 32)
    first, second = scorer(images), scorer(images)
    assert not torch.equal(first, second) and torch.equal(scorer.eval()(images), first)
    for inner in (partial(TeacherMaps, scale="given"), Boxes):
        with pytest.raises(InputError, match=r"tokens\.scorer\.scorer=.*: reads more than the image; take another"):
            Shuffled(inner, image_size=32, patch_size=8)
