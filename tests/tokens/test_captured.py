"""Captured networks: on a CPU the same functions on the same buffers, on a GPU the graphs themselves."""

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from tests.tokens.stand_in import Accelerator, to_remote
from zoomexp.errors import InputError
from zoomexp.tokens import captured as capturing
from zoomexp.tokens.captured import Slotted, captured, ready
from zoomexp.tokens.evit import evit
from zoomexp.tokens.regions import compiled_regions
from zoomexp.tokens.scorers.folded import PaddedConv, pad_stem
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.scorers.zoomer import ZoomerScores, halved
from zoomexp.tokens.slots import slots_of
from zoomexp.tokens.tome import tome
from zoomexp.tokens.zoomvit import ZoomViT

ZOOMER = partial(ZoomerScores, input_size=24)
OPTIONS = {
    "eta 0.5": {}, "eta 2": {"eta": 2}, "pruned": {"pruning": "top_n", "prune_n": 5},
    "pruned to another threshold": {"pruning": "match_alpha", "prune_alpha": 0.6}, "paper": {"coverage": "paper"},
    "sinusoids": {"positions": "sinusoid_2d"},
}  # fmt: skip


def spread(net, images):
    """Scores spread over [0, 1], by a Zoomer that would give all of them near 0.5."""
    with torch.no_grad():
        net.scorer.zoomer.scores.weight.mul_(20)
        net.scorer.zoomer.scores.bias.uniform_(-2, 2)
        net(images)
    assert len(set(net.lengths.tolist())) > 1
    return net


@pytest.mark.parametrize("name", OPTIONS)
def test_slots_and_dummies_change_nothing(small_vit, six_images, name):
    torch.manual_seed(0)
    net = ZoomViT(small_vit(), scorer=ZOOMER, image_size=48, alpha=0.5, **OPTIONS[name]).eval()
    fast = captured(spread(net, six_images), six_images)
    assert isinstance(fast, Slotted)
    for images in (six_images, six_images.flip(0), 3 * six_images, six_images.clone()):
        with torch.no_grad():
            torch.testing.assert_close(fast(images), net(images), rtol=1e-4, atol=1e-4)
    assert 1 <= len(fast.graphs) <= 3
    for slots in fast.graphs:
        assert slots.fine % (4 * fast.step) == slots.coarse % fast.step == 0 and slots.dummies >= 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_dummies_may_be_shorter_than_a_prefix_with_registers(small_vit, six_images, count):
    torch.manual_seed(0)
    net = ZoomViT(small_vit(reg_tokens=4), scorer=ZOOMER, image_size=48, alpha=0.5).eval()
    images = six_images[:count]
    fast = captured(net, images)
    with torch.no_grad():
        torch.testing.assert_close(fast(images), net(images), rtol=1e-4, atol=1e-4)


def test_an_image_does_not_depend_on_its_batch_mates(small_vit, six_images):
    torch.manual_seed(0)
    net = ZoomViT(small_vit(), scorer=ZOOMER, image_size=48, alpha=0.5).eval()
    fast = captured(spread(net, six_images), six_images)
    together = fast(six_images).clone()
    mixed = torch.cat([six_images[:1], 5 * six_images[1:].flip(1)])
    torch.testing.assert_close(fast(mixed)[:1], together[:1], rtol=1e-4, atol=1e-4)


def test_lengths_are_read_once_and_never_after_that(small_vit, six_images):
    torch.manual_seed(0)
    net = spread(ZoomViT(small_vit(), scorer=ZOOMER, image_size=48, alpha=0.5).eval(), six_images)
    with torch.no_grad():
        expected, far = net(six_images), copy.deepcopy(net)
        (images,) = to_remote(far, six_images)
        with Accelerator() as seen:
            fast = Slotted(far, images, compiled=False)
            actual = fast(images)
    assert (seen.waits, seen.copies) == (["aten._to_copy.default to the CPU"], [])
    torch.testing.assert_close(actual.held, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("step", [1, 3, 16])
def test_slots_hold_what_they_must(step):
    for fine in range(0, 200, 4):
        coarse = 60 - fine // 4 + 30
        slots = slots_of(fine, coarse, step, 40)
        spare = slots.fine - fine + slots.coarse - coarse
        assert slots.dummies <= spare <= slots.dummies * 40  # each dummy sequence: at least 1 token, at most 40
        assert slots.fine < fine + slots.dummies + 4 * step and slots.coarse < coarse + step


@pytest.mark.parametrize(
    "make", [partial(tome, r=4), partial(evit, locations=[1]), partial(ZoomViT, scorer=ZOOMER, budget=3)]
)
def test_networks_of_static_shapes(small_vit, six_images, make):
    net = make(small_vit(), image_size=48).eval()
    fast = captured(net, six_images)
    for images in (six_images, six_images.flip(0)):
        torch.testing.assert_close(fast(images), net(images), rtol=1e-4, atol=1e-4)


def test_a_ready_zoomer_gives_the_same_scores_without_norms(six_images):
    scores = ZOOMER(image_size=48, patch_size=8)
    for module in scores.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            (
                module.running_mean.uniform_(-1, 1),
                module.running_var.uniform_(0.5, 2),
                module.weight.data.uniform_(0.5, 2),
            )
    made = ready(scores)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in made.modules())
    torch.testing.assert_close(made(six_images), scores(six_images), rtol=1e-4, atol=1e-5)
    pad_stem(made.zoomer)
    assert isinstance(made.zoomer.features[0], PaddedConv) and made.zoomer.features[0].conv.in_channels == 8
    torch.testing.assert_close(made(six_images), scores(six_images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 4, 48])
def test_half_size_is_that_of_interpolate(size):
    x = torch.randn(2, 3, size, 2 * size)
    half = (size // 2, size)
    expected = F.interpolate(x, size=half, mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(halved(x), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def graphs():
    """What the backend "counted" is given, which compiles nothing."""
    found = []

    def backend(module, inputs):
        found.append(module)
        return module

    torch.compiler.reset()
    torch._dynamo.register_backend(backend, name="counted")
    yield found
    torch.compiler.reset()
    torch._dynamo.backends.registry._COMPILER_FNS.pop("counted")


def test_regions_are_compiled_once_for_all_blocks_and_give_the_same(small_vit, six_images, graphs):
    net = tome(small_vit(), image_size=48, r=4).eval()
    with torch.no_grad():
        expected = net(six_images)
        with compiled_regions("counted"):
            first = net(six_images)
            made = len(graphs)
            second = net(six_images[:4])
    assert 0 < made <= 16 and len(graphs) <= made + 4  # four blocks of 37, 33, 29 and 25 tokens
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second, expected[:4], rtol=1e-4, atol=1e-4)


def test_a_plain_transformer_has_the_regions_of_its_blocks(small_vit, six_images, graphs, monkeypatch):
    monkeypatch.setattr(capturing, "compiled_regions", partial(compiled_regions, "counted"))
    vit = small_vit()
    with torch.no_grad():
        torch.testing.assert_close(captured(vit, six_images, compiled=True)(six_images), vit(six_images))
    assert 0 < len(graphs) <= 2  # for four blocks


def test_refusals(small_vit, six_images):
    with pytest.raises(InputError, match=r"^captured: the network must be in eval mode$"):
        captured(small_vit().train(), six_images)
    mapped = ZoomViT(small_vit(), scorer=TeacherMaps, image_size=48).eval()
    with pytest.raises(
        InputError, match=r"^captured: the network must take images alone, got one that takes image, map$"
    ):
        captured(mapped, six_images)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, at torch
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["plain", "tome", "evit", "zoomvit, budget", "zoomvit, threshold"])
def test_graphs_on_a_gpu_give_what_eager_gives(small_vit, six_images, name, dtype):
    torch.manual_seed(0)
    vit = small_vit()
    net = {
        "plain": lambda: vit, "tome": lambda: tome(vit, image_size=48, r=4),
        "evit": lambda: evit(vit, image_size=48, locations=[1]),
        "zoomvit, budget": lambda: ZoomViT(vit, scorer=ZOOMER, image_size=48, budget=3),
        "zoomvit, threshold": lambda: ZoomViT(vit, scorer=ZOOMER, image_size=48, alpha=0.5),
    }[name]().eval()  # fmt: skip
    if name == "zoomvit, threshold":
        spread(net, six_images)
    net, images = net.to("cuda", dtype), six_images.to("cuda", dtype)
    fast = captured(net, images)
    with torch.no_grad():
        for one in (images, images.flip(0)):
            expected, actual = net(one).float(), fast(one).float()
            limit = (
                0.25 if dtype == torch.bfloat16 else 1e-3
            )  # in bf16 other tokens may be taken where scores are close
            assert (actual - expected).norm() < limit * expected.norm()
