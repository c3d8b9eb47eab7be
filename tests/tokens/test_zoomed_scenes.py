"""ZoomViT's tokens in a detector: every token written out on images that are not square, and what must not change."""

from functools import partial
from pathlib import Path

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn
from torch.nn import functional as F

from tests.tokens.hosts import TINY, check_alone, close, randomised
from zoomexp.errors import InputError
from zoomexp.tokens.cells import cell_scores
from zoomexp.tokens.positions import Positions, sinusoid_1d, sinusoid_2d
from zoomexp.tokens.scorers.centre import Centre
from zoomexp.tokens.scorers.cls_attention import ClsAttention
from zoomexp.tokens.scorers.entropy import Entropy
from zoomexp.tokens.scorers.gradient_magnitude import GradientMagnitude
from zoomexp.tokens.scorers.hpm import HPM
from zoomexp.tokens.scorers.inverted import Inverted
from zoomexp.tokens.scorers.random import Random
from zoomexp.tokens.scorers.shuffled import Shuffled
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.scorers.uniform import Uniform
from zoomexp.tokens.scorers.zoomer import ZoomerScores
from zoomexp.tokens.yolos import YOLOS
from zoomexp.tokens.zoomed_scenes import scores_of
from zoomexp.tokens.zoomvit import ZoomViT

K, N = 4, 3
SCORERS = Path(__file__).parents[2] / "configs" / "tokens" / "scorer"


class Bright(nn.Module):
    """A patch's score is its brightness."""

    def forward(self, images, maps=None):
        return F.avg_pool2d(20 * images.mean(1, keepdim=True), 8)[:, 0].sigmoid()


def detector(scorer=Bright, own=None, **options):
    torch.manual_seed(0)
    tokens = partial(ZoomViT, scorer=scorer, **{"eta": 0.5, "alpha": 0.7, "zfe": "none"} | options)
    net = YOLOS(VisionTransformer(**TINY), num_classes=K, boxes=N, tokens=tokens, **own or {})
    return randomised(net)


def bicubic(table, old, new):
    maps = table.reshape(*old, -1).permute(2, 0, 1)[None]
    return F.interpolate(maps, size=new, mode="bicubic", align_corners=False)[0].flatten(1).T


def tokens_written_out(net, image, table, grid, layer=None):
    """The tokens of one image by their (group, place), in no order: {("fine", r, c) or ("coarse", r, c): (D,)}.

    `table` (n, D) are positions of a grid of patches; with a `layer` the positions of it are given instead of tokens.
    """
    vit, zoom, patch = net.transformer, net.host, 8
    eta, (rows, columns) = zoom.eta, (image.shape[1] // patch, image.shape[2] // patch)
    scores = scores_of(zoom, image[None])[0]
    cells = (rows, columns) if eta == 2 else (rows // 2, columns // 2)
    finer = (2 * cells[0], 2 * cells[1])
    if eta == 2:
        coarse_image, fine_image, score = image, image.repeat_interleave(2, 1).repeat_interleave(2, 2), scores
    else:
        coarse_image, fine_image = F.avg_pool2d(image[None], 2)[0], image
        score = F.max_pool2d(scores[None], 2)[0]
    found = {}
    for kind, picture, size in (("coarse", coarse_image, cells), ("fine", fine_image, finer)):
        tokens = vit.patch_embed.proj(picture[None])[0].permute(1, 2, 0)
        places = bicubic(table, grid, size).unflatten(0, size)
        for r in range(size[0]):
            for c in range(size[1]):
                cell = (r, c) if kind == "coarse" else (r // 2, c // 2)
                if bool(score[cell] >= 0.7) is (kind == "fine"):
                    found[kind, r, c] = places[r, c] if layer else tokens[r, c] + places[r, c]
    return found


def matched(actual, expected):
    """Both are the same rows, in whatever order; returns that of the actual ones."""
    distance = torch.cdist(actual, expected)
    order = distance.argmin(1)
    assert sorted(order.tolist()) == list(range(len(expected)))
    close(actual, expected[order])
    return order


@pytest.mark.parametrize("size", [(32, 48), (48, 16), (48, 48)])
@pytest.mark.parametrize("eta", [0.5, 2])
def test_tokens_and_positions_of_every_block_written_out(size, eta):
    net, image = detector(eta=eta, own={"layer_size": (24, 40)}), torch.randn(3, *size)
    p = net.transformer.pos_embed[0]
    expected = tokens_written_out(net, image, p[1 + N :], (4, 4))
    [(tokens, rows)] = net.tokenized([image[None]])
    kinds = {kind for kind, *_ in expected}
    assert kinds == {"fine", "coarse"} and len(tokens.values) == 1 + N + len(expected)
    close(tokens.values[0], net.transformer.cls_token[0, 0] + p[0])
    close(tokens.values[1 : 1 + N], net.transformer.reg_token[0] + p[1 : 1 + N])
    order = matched(tokens.values[1 + N :], torch.stack(list(expected.values())))
    adding = net._adding([rows], [image[None]])
    for i, m in enumerate(net.layer_positions.table):
        added = adding.before(i + 1, tokens).values - tokens.values
        close(added[: 1 + N], m[: 1 + N], 1e-4)
        places = tokens_written_out(net, image, m[1 + N :], (3, 5), layer=True)
        close(added[1 + N :], torch.stack(list(places.values()))[order], 1e-4)


@pytest.mark.parametrize("options", [{}, {"eta": 2, "zfe": "soft"}, {"budget": 2},
                                     {"own": {"layer_size": (32, 32)}}, {"positions": "sinusoid_1d"},
                                     {"positions": "sinusoid_2d"}, {"pruning": "top_n", "prune_n": 2}])  # fmt: skip
def test_an_image_does_not_depend_on_its_batch_mates(options):
    net, sizes = detector(**options), torch.tensor([[32, 48], [16, 32], [32, 48], [48, 16]])
    images = torch.randn(4, 3, 48, 48)
    check_alone(net, images, sizes)


LOOKING = {
    "centre": Centre, "cls_attention": partial(ClsAttention, vit=VisionTransformer(**TINY), layers="last"),
    "entropy": partial(Entropy, bins=32), "gradient_magnitude": GradientMagnitude,
    "inverted": partial(Inverted, ZoomerScores), "uniform": Uniform, "zoomer": ZoomerScores,
}  # fmt: skip
DRAWING = {"random": Random, "shuffled": partial(Shuffled, Bright)}
ELSEWHERE = {"boxes", "dqvae", "hpm", "teacher"}  # tests/tokens/test_control_scorers.py, and refused


def test_every_scorer_looks_or_draws_or_is_elsewhere():
    there = {path.stem for path in SCORERS.glob("*.yaml")}
    assert there == {*LOOKING, *DRAWING, *ELSEWHERE}


@pytest.mark.parametrize("name", LOOKING)
def test_what_a_scorer_that_looks_sees_does_not_depend_on_batch_mates(name):
    net, sizes = detector(LOOKING[name], budget=2).eval(), torch.tensor([[32, 48], [16, 32], [32, 48], [48, 16]])
    images = torch.randn(4, 3, 48, 48)
    check_alone(net, images, sizes)


@pytest.mark.parametrize("name", DRAWING)
def test_scores_that_are_drawn_depend_on_when_an_image_comes_and_can_be_drawn_again(name):
    net, images = detector(DRAWING[name], budget=2).eval(), torch.randn(4, 3, 48, 48)
    first = net(images).logits
    assert not torch.allclose(net(images).logits, first)  # the next batch
    assert torch.equal(net.eval()(images).logits, first)  # the test, repeated
    turned = net.eval()(images[[1, 0, 2, 3]]).logits[[1, 0, 2, 3]]
    assert not torch.allclose(turned[:2], first[:2]) and torch.equal(net.eval()(images[:2]).logits, first[:2])


def test_a_budget_is_kept_at_every_size():
    net = detector(scorer=Random, budget=2)
    net(torch.randn(3, 3, 48, 48), torch.tensor([[32, 48], [48, 48], [16, 32]]))
    assert net.lengths.tolist() == [1 + N + cells + 6 for cells in (6, 9, 2)]
    with pytest.raises(InputError, match=r"tokens\.budget=2: an image of \(16, 16\) has \(1, 1\) cells only"):
        net(torch.randn(1, 3, 16, 16))


def test_at_the_hosts_own_size_tokens_are_those_of_the_classifier():
    """Whether seen as a scene or as an image to classify: the same numbers to the last digit."""
    for options in ({}, {"eta": 2}, {"positions": "sinusoid_1d"}, {"positions": "sinusoid_2d"}, {"coverage": "paper"}):
        net, images = detector(**options), torch.randn(3, 3, 32, 32)
        [(tokens, _)] = net.tokenized([images])
        plain = net.host.tokenize(images)
        assert torch.equal(tokens.values, plain.values) and tokens.lengths.tolist() == plain.lengths.tolist()


def test_scores_are_those_of_the_resized_image():
    zoomer = partial(ZoomerScores, blocks=2)
    net, images = detector(scorer=zoomer), torch.randn(2, 3, 48, 80)
    small = F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True)
    scores = net.host.scorer.zoomer(small)
    expected = F.interpolate(scores[:, None], size=(6, 10), mode="bilinear", align_corners=False)[:, 0]
    close(scores_of(net.host, images), expected)
    assert torch.equal(scores_of(net.host, small), scores)


def test_positions_of_rectangles():
    vit = randomised(VisionTransformer(**TINY))
    one = Positions(vit, "sinusoid_2d", 4)
    coarse, fine = sinusoid_2d((2, 3), 48)
    table = one.candidates(vit, (2, 3))
    close(table[24:], coarse)
    close(table[:4], fine[[0, 1, 6, 7]])  # the first cell's four, of rows of six
    flat, square = sinusoid_2d((3, 2), 48), sinusoid_2d(3, 48)
    close(flat[0].view(3, 2, 48), square[0].view(3, 3, 48)[:, :2])
    close(flat[1].view(6, 4, 48), square[1].view(6, 6, 48)[:, :4])
    vit = randomised(VisionTransformer(**TINY))
    one = Positions(vit, "sinusoid_1d", 4)
    close(one.candidates(vit, (2, 3))[24:], bicubic(sinusoid_1d(17, 48)[1:], (4, 4), (2, 3)))
    close(one.candidates(vit, (2, 3))[[0, 1, 2, 3]], bicubic(sinusoid_1d(65, 48)[1:], (8, 8), (4, 6))[[0, 1, 6, 7]])


def test_cells_of_a_rectangle():
    scores = torch.arange(24.0).view(1, 4, 6)
    by_cell = cell_scores(scores, 0.5)
    assert by_cell.coarse.tolist() == [[7, 9, 11, 19, 21, 23]]
    assert by_cell.fine[0, 4].tolist() == [14, 15, 20, 21]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "padded"}, "tokens.mode=padded: a detector runs ragged tokens only"),
        ({"scorer": partial(TeacherMaps, scale="given")}, "tokens.scorer=TeacherMaps: needs a teacher's maps"),
        (
            {"scorer": partial(HPM, width=64, depth=1, mask_ratio=0.5, hard_share=0.5)},
            "tokens.scorer=HPM: learns on its own",
        ),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=message):
        detector(**options)
    with pytest.raises(InputError, match=r"with sides that are multiples of 16 at eta=0\.5"):
        detector(scorer=Uniform)(torch.randn(1, 3, 24, 32))


def test_it_learns_through_both_grids():
    net = detector(own={"layer_size": (32, 32)}).train()
    said = net(torch.randn(2, 3, 32, 48))
    (said.logits.square().sum() + said.boxes.square().sum()).backward()
    without = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    assert without == set()
    assert isinstance(net.host.scorer, nn.Module) and len(net.state_dict()) == len({*net.state_dict()})
