"""How often each token method waits for an accelerator: never with static shapes, else once for each change of lengths.

Also that nothing mixes tensors of both sides, and that nothing is copied there in a method that is to be captured.
"""

import copy
from functools import partial

import pytest
import torch

from tests.tokens.stand_in import Accelerator, to_remote
from zoomexp.tokens.a_vit import a_vit
from zoomexp.tokens.ats import ats
from zoomexp.tokens.cf_vit import CFViT
from zoomexp.tokens.diffrate import diffrate
from zoomexp.tokens.dynamicvit import dynamicvit
from zoomexp.tokens.evit import evit
from zoomexp.tokens.evo_vit import evo_vit
from zoomexp.tokens.ia_red2 import ia_red2
from zoomexp.tokens.pitome import pitome
from zoomexp.tokens.random import random
from zoomexp.tokens.scorers.zoomer import ZoomerScores
from zoomexp.tokens.spvit import spvit
from zoomexp.tokens.tofu import tofu
from zoomexp.tokens.tome import tome
from zoomexp.tokens.topk import topk
from zoomexp.tokens.zoomvit import ZoomViT

BLOCKS = {"locations": [1, 2]}
ZOOM = partial(ZoomViT, scorer=partial(ZoomerScores, input_size=24))
STATIC = {
    "tome": partial(tome, r=4), "tofu": partial(tofu, r=4), "pitome": partial(pitome, keep_rate=0.8),
    "diffrate": partial(diffrate, prune=3, merge=3),
    "evit": partial(evit, **BLOCKS), "topk": partial(topk, **BLOCKS), "random": partial(random, **BLOCKS),
    "dynamicvit": partial(dynamicvit, **BLOCKS), "cf_vit": partial(CFViT, first_block=1),
    "evo_vit": partial(evo_vit, locations=[1]), "evo_vit, representative": partial(evo_vit, locations=[1, 2],
    representative=True), "zoomvit": partial(ZOOM, budget=3), "zoomvit, eta 2": partial(ZOOM, budget=3, eta=2),
    "zoomvit, pruned": partial(ZOOM, budget=3, pruning="top_n", prune_n=2),
    "zoomvit, sinusoids": partial(ZOOM, budget=3, positions="sinusoid_1d"),
}  # fmt: skip
WAITING = {  # how often, in four blocks
    "spvit": (partial(spvit, **BLOCKS), 2), "ats": (partial(ats, **BLOCKS), 2),
    "ia_red2": (partial(ia_red2, **BLOCKS), 2), "a_vit": (partial(a_vit, target_depth=2), 3),
    "zoomvit, threshold": (partial(ZOOM, alpha=0.5), 1),
    "zoomvit, threshold, padded": (partial(ZOOM, alpha=0.5, mode="padded"), 1),
    "zoomvit, threshold, pruned": (partial(ZOOM, alpha=0.5, pruning="top_n", prune_n=2), 1),
}  # fmt: skip


@pytest.fixture
def watched(small_vit, six_images):
    """Logits of a method, the same from the stand-in, and what that saw of a second forward."""

    def run(method):
        net = method(small_vit(), image_size=48).eval()
        with torch.no_grad():
            expected, far = net(six_images), copy.deepcopy(net)
            (images,) = to_remote(far, six_images)
            with Accelerator():
                far(images)
            with Accelerator() as seen:
                actual = far(images)
        torch.testing.assert_close(actual.held, expected, rtol=1e-5, atol=1e-5)
        return seen

    return run


@pytest.mark.parametrize("name", STATIC)
def test_a_method_of_static_shapes_never_waits_and_copies_nothing(watched, name):
    seen = watched(STATIC[name])
    assert (seen.waits, seen.copies) == ([], [])


@pytest.mark.parametrize("name", WAITING)
def test_a_method_of_other_shapes_waits_once_for_each_change_of_lengths(watched, name):
    method, times = WAITING[name]
    assert watched(method).waits == ["aten._to_copy.default to the CPU"] * times


def test_the_stand_in_sees_what_waits():
    (x,) = to_remote(torch.nn.Module(), torch.tensor([1.0, 0.0, 2.0]))
    with Accelerator() as seen:
        x[x > 0], x.nonzero(), x.sum().item(), x.cpu(), torch.arange(3).to(x.device), x.masked_select(x > 0)
        torch.arange(2, device=x.device).repeat_interleave(x[:2].long())
        with pytest.raises(AssertionError, match="on both devices"):
            x + torch.ones(3)
    assert len(seen.waits) == 6 and len(seen.copies) == 1
    with Accelerator() as seen:
        x.argsort(), x.cumsum(0), x[torch.arange(2, device=x.device)], x + 1, x.new_zeros(3).scatter_(0, x.long(), x)
        torch.arange(2, device=x.device).repeat_interleave(x[:2].long(), output_size=1)
    assert (seen.waits, seen.copies) == ([], [])


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, at torch
@pytest.mark.parametrize("name", STATIC)
def test_the_gpu_is_never_waited_for_and_the_graph_gives_the_same(small_vit, six_images, name):
    net, images = STATIC[name](small_vit(), image_size=48).eval().cuda(), six_images.cuda()
    with torch.no_grad():
        expected = net(images)
        torch.cuda.set_sync_debug_mode("error")
        try:
            actual = net(images)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", WAITING)
def test_a_gpu_is_waited_for_no_more_often_than_that(small_vit, six_images, name):
    method, times = WAITING[name]
    net, images = method(small_vit(), image_size=48).eval().cuda(), six_images.cuda()
    with torch.no_grad():
        net(images)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with pytest.warns(UserWarning, match="synchron") as caught:
                net(images)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len([one for one in caught if "synchron" in str(one.message)]) <= times
