"""Parameters and multiply-accumulates against published and hand-computed counts."""

from functools import partial

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch import nn

from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.cbam import CBAM
from zoomexp.attention.loupe import Loupe
from zoomexp.attention.multi_head import MultiHead
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.metrics.cost import macs, macs_over, parameters
from zoomexp.model import build_model
from zoomexp.tokens.scorers.boxes import Boxes
from zoomexp.tokens.scorers.shuffled import Shuffled
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.scorers.zoomer import ZoomerScores
from zoomexp.tokens.yolos import YOLOS
from zoomexp.tokens.zoomvit import ZoomViT


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


def vit(side, width, depth, classes=1000, patch=16):
    tokens = (side // patch) ** 2 + 1
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    return (tokens - 1) * 3 * patch**2 * width + depth * block + width * classes


def swin(width, depths, window=7, classes=1000):
    tokens, total = 56**2, 56**2 * 48 * width
    for stage, depth in enumerate(depths):
        if stage:  # four neighbours become one token of twice the width
            tokens, width = tokens // 4, 2 * width
            total += tokens * 2 * width * width
        total += depth * (12 * tokens * width**2 + 2 * tokens * window**2 * width)
    return total + width * classes


def resnet50(classes=1000):
    total, before = 112**2 * 3 * 49 * 64, 64
    for width, side, blocks in ((64, 56, 3), (128, 28, 4), (256, 14, 6), (512, 7, 3)):
        entering = side**2 if width == 64 else (2 * side) ** 2  # the 3 x 3 convolution has the stride
        total += entering * before * width + side**2 * (9 * width**2 + 4 * width**2 + before * 4 * width)
        total += (blocks - 1) * side**2 * (4 + 9 + 4) * width**2
        before = 4 * width
    return total + before * classes


def resnet20_macs(sides=(32, 16, 8), classes=10):
    """Sides of the maps after each stage; shortcuts have no weights."""
    total, before = sides[0] ** 2 * 27 * 16, 16
    for width, side in zip((16, 32, 64), sides, strict=True):
        total += side**2 * 9 * (before * width + 5 * width**2)
        before = width
    return total + 64 * classes


def cait(width=192, heads=4, depth=24, classes=1000):
    """CaiT-XXS-24: talking heads mix the heads' attention matrices twice; two blocks for the class token alone."""
    tokens = 14**2
    block = 12 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens**2 * heads**2
    of_class = 10 * width**2 + 2 * (tokens + 1) * width**2 + 2 * (tokens + 1) * width
    return tokens * 768 * width + depth * block + 2 * of_class + width * classes


def test_resnet20_at_32_pixels():
    assert macs(resnet20(), torch.zeros(1, 3, 32, 32)) == resnet20_macs() == pytest.approx(40.55e6, rel=0.005)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("name", "side", "expected", "published"),
    [
        ("deit_small_patch16_224", 224, vit(224, 384, 12), 4.61e9),
        ("deit3_small_patch16_384", 384, vit(384, 384, 12), 15.5e9),
        ("swin_base_patch4_window7_224", 224, swin(128, (2, 2, 18, 2)), 15.4e9),
        ("resnet50", 224, resnet50(), 4.09e9),
        ("cait_xxs24_224", 224, cait(), 2.53e9),
    ],
)
def test_counts_by_the_layers_sizes_and_as_published(name, side, expected, published, fused):
    with torch.device("meta"):
        net = timm.create_model(name)
        for module in net.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = fused
        assert macs(net, torch.zeros(1, 3, side, side)) == expected == pytest.approx(published, rel=0.005)


def test_the_larger_figure_of_resnet50_has_its_batch_norms_in_it():
    values = []
    with torch.device("meta"):
        net = timm.create_model("resnet50")
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(lambda norm, given, out: values.append(out.numel()))
        count = macs(net, torch.zeros(1, 3, 224, 224))
    assert 0.005 < 1 - count / 4.11e9 < 0.0052
    assert count + 2 * sum(values) == pytest.approx(4.11e9, rel=0.001)


def test_attention_products_are_counted():
    tokens, channels = 6 * 6, 16
    module = SelfAttention(channels)
    projections = 3 * tokens * channels * channels
    assert macs(module, torch.zeros(1, channels, 6, 6)) == projections + 2 * tokens * tokens * channels


def test_modules_that_hang_on_hooks_are_counted():
    added = sum(3 * n * c**2 + 2 * n**2 * c for n, c in ((1024, 16), (256, 32), (64, 64)))
    assert macs(resnet20(SelfAttention), torch.zeros(1, 3, 32, 32)) == resnet20_macs() + added


def test_maps_that_attzoom_enlarges_cost_more_in_every_layer_after():
    net = build_model(ResNet20, num_classes=10, in_chans=3, image_size=32, attention=AttZoom, at="stage1")
    stem_and_stage1 = resnet20_macs((32, 0, 0))
    rest = 4 * (resnet20_macs((0, 16, 8)) - 640) + 640  # twice the side; the head sees one vector
    own = 32**2 * 9 * 16 + 32**2 * 9 * 16**2  # gate; enlargement, whose zeros are never multiplied
    assert macs(net, torch.zeros(1, 3, 32, 32)) == stem_and_stage1 - 640 + own + rest


def test_ragged_tokens_cost_what_each_image_brings():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    scorer = TeacherMaps(image_size=32, patch_size=8, scale="given")
    net = ZoomViT(VisionTransformer(**sizes), scorer=scorer, image_size=32, eta=2, alpha=0.5)
    maps = torch.zeros(2, 4, 4)
    maps[0, 0, :3], maps[1, 1, 1] = 1, 1

    def by_hand(cells):
        tokens, patches = 1 + 16 + 3 * cells, 16 - cells + 4 * cells / 4  # an enlarged patch is a quarter of the work
        return patches * 192 * 24 + 3 * (12 * tokens * 24**2 + 2 * tokens**2 * 24) + 24 * 5

    images, counts = torch.zeros(2, 3, 32, 32), [by_hand(3), by_hand(1)]
    assert [macs(net, images[i : i + 1], maps[i : i + 1]) for i in (0, 1)] == counts
    assert macs(net, images, maps) == sum(counts)
    found = macs_over(net, [(images[:1], maps[:1]), (images[1:], maps[1:])])
    assert found == {"macs": sum(counts) / 2, "macs_spread": (counts[0] - counts[1]) / 2, "macs_scorer": 0}


@pytest.mark.parametrize("scorer", [ZoomerScores, partial(Shuffled, ZoomerScores)])
def test_the_scorers_part_is_that_of_its_own_images(scorer):
    """A classifier's scorer sees the image, a detector's the image at the square that the host was made for."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    tokens = partial(ZoomViT, scorer=scorer, image_size=32, eta=2, alpha=0.5)
    plain = tokens(VisionTransformer(**sizes))
    alone = macs(plain.scorer, torch.zeros(1, 3, 32, 32), None)
    assert macs_over(plain, [(torch.zeros(1, 3, 32, 32),)])["macs_scorer"] == alone > 0
    net = YOLOS(VisionTransformer(**sizes), num_classes=5, boxes=3, tokens=partial(ZoomViT, scorer=scorer, eta=2))
    assert parameters(net)["scorer_params"] == parameters(plain)["scorer_params"] > 0
    found = macs_over(net, [(torch.zeros(1, 3, 48, 80), None), (torch.zeros(1, 3, 32, 32), None)])
    assert found["macs_scorer"] == alone < found["macs"] and not plain.scorer._forward_hooks


def test_detectors_without_a_scorer_have_no_part_of_one():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    net, images = YOLOS(VisionTransformer(**sizes), num_classes=5, boxes=3), torch.zeros(1, 3, 32, 32)
    assert net.scorer is None and "scorer_params" not in parameters(net)
    assert macs_over(net, [(images,)]) == {"macs": macs(net, images), "macs_spread": 0}
    oracle = YOLOS(VisionTransformer(**sizes), num_classes=5, boxes=3, tokens=partial(ZoomViT, scorer=Boxes))
    truth = torch.tensor([[[0.0, 0, 20, 20]]])
    found = macs_over(oracle, [(images, torch.tensor([[32, 32]]), truth)])
    assert found["macs_scorer"] == 0 == parameters(oracle)["scorer_params"]


def test_the_mode_is_left_as_it_was():
    net = resnet20()
    before = net.bn1.running_mean.clone()
    macs(net, torch.randn(1, 3, 32, 32))
    assert net.training
    assert torch.equal(net.bn1.running_mean, before)
    macs(net.eval(), torch.randn(1, 3, 32, 32))
    assert not net.training
