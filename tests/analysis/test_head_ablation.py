"""Without one head: against networks whose weights of that head are set to zero."""

from copy import deepcopy

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from zoomexp.analysis.head_ablation import Ablated, ablation_table, draw_ablation, head_ablation, heads_of
from zoomexp.attention.multi_head import MultiHead
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.insertion import insert
from zoomexp.results.statistics import paired_bootstrap


def vit():
    net = timm.create_model("deit_tiny_patch16_224", img_size=32, embed_dim=24, depth=2, num_heads=3, num_classes=5)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return net, torch.randn(40, 3, 32, 32)


def with_module(make):
    net, images = ResNet20(5, 1), torch.randn(40, 1, 32, 32)
    insert(net, make, "stage3", images[:1])
    return net.eval(), images


def silent(net, place, head, heads):
    """The same network with what leads from a head set to zero."""
    other = deepcopy(net)
    module = other.get_submodule(place)
    if isinstance(module, SelfAttention):
        module.gamma = 0.0
        return other
    weight = module.out.weight if isinstance(module, MultiHead) else module.proj.weight
    size = weight.shape[1] // heads
    with torch.no_grad():
        weight[:, head * size : (head + 1) * size] = 0
    return other


def made(kind):
    torch.manual_seed(1)
    if kind == "vit":
        return *vit(), ["blocks.0.attn", "blocks.1.attn"], 3
    make = {"one": lambda c: SelfAttention(c, gamma=3.0), "many": lambda c: MultiHead(c, heads=4, gamma=3.0)}[kind]
    return *with_module(make), ["inserted.layer3.module"], {"one": 1, "many": 4}[kind]


@pytest.mark.parametrize("kind", ["one", "many", "vit"])
def test_a_silent_head_is_one_whose_weights_are_zero(kind):
    net, images, places, heads = made(kind)
    net.train()
    with torch.no_grad():
        labels = net.eval()(images).argmax(1)
        net.train()
    labels[::4] = (labels[::4] + 1) % 5
    batches = [{"image": images[part], "label": labels[part]} for part in torch.arange(40).split(16)]
    found = head_ablation(net, batches)
    assert net.training and [(one.place, one.head) for one in found] == [(p, h) for p in places for h in range(heads)]
    said = net.eval()(images).argmax(1).numpy()
    true = labels.numpy()
    for one in found:
        with torch.no_grad():
            without = silent(net, one.place, one.head, heads)(images).argmax(1).numpy()
        test = paired_bootstrap(said == true, without == true)
        assert one.accuracy == pytest.approx(100 * (without == true).mean())
        assert (one.drop, one.low, one.high) == (test.difference, test.low, test.high)
        assert one.drop == pytest.approx(75 - one.accuracy)
        assert one.changed == pytest.approx(100 * (without != said).mean())
    assert max(one.changed for one in found) > 0  # the heads do something here


def test_a_silent_heads_logits_are_those_of_zero_weights_and_the_hook_goes_again():
    for kind in ("one", "many", "vit"):
        net, images, _, heads = made(kind)
        net.eval()
        with torch.no_grad():
            before = net(images)
            for (place, head), silencing in heads_of(net).items():
                handle = silencing()
                without = net(images)
                handle.remove()
                torch.testing.assert_close(without, silent(net, place, head, heads)(images), rtol=1e-4, atol=1e-4)
                assert not torch.equal(without, before)
            assert torch.equal(net(images), before)


def test_where_nothing_attends_nothing_is_measured():
    def never():
        pytest.fail("an image was asked for")
        yield {}

    assert head_ablation(ResNet20(5, 1), never()) == []


def test_the_table_and_the_figure(tmp_path):
    found = [Ablated("blocks.0.attn", h, 80.0 - h, h * 1.0, h - 0.5, h + 0.5, 3.0) for h in range(3)]
    table = ablation_table(found)
    assert list(table) == ["place", "head", "accuracy", "drop", "low", "high", "changed"]
    np.testing.assert_array_equal(table["drop"], [0, 1, 2])
    with Image.open(draw_ablation(found, tmp_path / "a.png")) as image:
        assert image.size[0] > 300
