"""Parameters and multiply-accumulates against published and hand-computed counts."""

import pytest
import timm
import torch
from torch import nn

from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.cbam import CBAM
from zoomexp.attention.loupe import Loupe
from zoomexp.attention.multi_head import MultiHead
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.metrics.cost import macs, parameters
from zoomexp.model import build_model


def resnet20(attention=None, in_chans=3):
    return build_model(
        ResNet20, num_classes=10, in_chans=in_chans, image_size=32, attention=attention, at="every_stage"
    )


@pytest.mark.parametrize(
    ("attention", "in_chans", "expected"),
    [
        (None, 3, 269_722),
        (None, 1, 269_434),
        (SelfAttention, 3, 286_189),
        (MultiHead, 3, 291_677),
        (CBAM, 3, 270_691),
    ],
)
def test_resnet20(attention, in_chans, expected):
    counts = parameters(resnet20(attention, in_chans))
    plain = 269_722 if in_chans == 3 else 269_434
    assert counts == {"params": expected, "trainable_params": expected, "module_params": expected - plain}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("swin_base_patch4_window7_224", 147_585), ("swin_tiny_patch4_window7_224", 83_041)],
)
def test_loupe_after_stage_2_of_swin(name, expected):
    def backbone(num_classes, in_chans):
        return timm.create_model(name, num_classes=num_classes, in_chans=in_chans)

    options = {"num_classes": 200, "in_chans": 3, "image_size": 224}
    with torch.device("meta"):
        plain = timm.create_model(name, num_classes=200)
    carrying = build_model(backbone, **options, attention=Loupe)
    assert carrying.insertion_sites == ["layers.1"]
    assert parameters(carrying)["params"] - parameters(plain)["params"] == expected
    assert parameters(carrying)["module_params"] == expected


def test_attzoom():
    assert sum(parameter.numel() for parameter in AttZoom(64).parameters()) == 37_505


def test_frozen_parameters_are_not_trainable():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))
    net[0].weight.requires_grad_(False)
    assert parameters(net) == {"params": 24, "trainable_params": 12, "module_params": 0}


def test_resnet20_at_32_pixels():
    assert macs(resnet20(), torch.zeros(1, 3, 32, 32)) == pytest.approx(40.55e6, rel=0.005)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("deit_small_patch16_224", 4.61e9), ("swin_base_patch4_window7_224", 15.4e9), ("resnet50", 4.09e9)],
)
def test_published_counts_at_224_pixels(name, expected):
    with torch.device("meta"):
        net = timm.create_model(name)
        assert macs(net, torch.zeros(1, 3, 224, 224)) == pytest.approx(expected, rel=0.005)


def test_attention_products_are_counted():
    tokens, channels = 6 * 6, 16
    module = SelfAttention(channels)
    projections = 3 * tokens * channels * channels
    assert macs(module, torch.zeros(1, channels, 6, 6)) == projections + 2 * tokens * tokens * channels


def test_the_mode_is_left_as_it_was():
    net = resnet20()
    before = net.bn1.running_mean.clone()
    macs(net, torch.randn(1, 3, 32, 32))
    assert net.training
    assert torch.equal(net.bn1.running_mean, before)
    macs(net.eval(), torch.randn(1, 3, 32, 32))
    assert not net.training
