"""Segmenters with the smallest decoder: features with inserted modules, sizes, refusals, the sum written out."""

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.loupe import Loupe
from zoomexp.backbones.from_timm import from_timm
from zoomexp.backbones.resnet20 import ResNet20, resnet20
from zoomexp.decoders.fcn import FCN, fcn
from zoomexp.errors import InputError
from zoomexp.insertion import attention_maps
from zoomexp.learning_rates import factors
from zoomexp.metrics.cost import macs, parameters
from zoomexp.model import build_model
from zoomexp.parts import part_parameters

TINY = partial(from_timm, "test_resnet")
VIT = partial(from_timm, "vit_tiny_patch16_224", image_size=48, patch_size=8, embed_dim=24, depth=4, num_heads=2)
SWIN = partial(from_timm, "swin_tiny_patch4_window7_224", image_size=64, window_size=4, embed_dim=24,
               depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))  # fmt: skip


def built(backbone=TINY, size=48, decoder=fcn, **options):
    torch.manual_seed(0)
    return build_model(backbone, num_classes=3, in_chans=1, image_size=size, decoder=decoder, **options)


def test_the_sum_is_at_the_size_of_the_finest():
    decoder = FCN([4, 8], 3)
    fine, coarse = torch.randn(2, 4, 6, 5), torch.randn(2, 8, 3, 3)
    weights = [(layer.weight[:, :, 0, 0], layer.bias[:, None, None]) for layer in decoder.classify]
    one, two = (torch.einsum("kc,bchw->bkhw", w, x) + b for (w, b), x in zip(weights, (fine, coarse), strict=True))
    expected = one + F.interpolate(two, size=(6, 5), mode="bilinear", align_corners=False)
    torch.testing.assert_close(decoder([torch.zeros(2, 1, 12, 10), fine, coarse]), expected)


@pytest.mark.parametrize("module", [None, AttZoom, Loupe])
@pytest.mark.parametrize(
    "backbone",
    [TINY, resnet20, SWIN, partial(from_timm, "test_convnext")],
    ids=["test_resnet", "resnet20", "swin", "test_convnext"],
)
def test_logits_have_the_images_size(backbone, module):
    net = built(backbone, 64, attention=module)
    images = torch.randn(2, 1, 64, 64)
    assert net(images).shape == (2, 3, 64, 64)
    assert bool(attention_maps(net)) is (module is not None)
    assert parameters(net)["module_params"] == sum(p.numel() for p in net.inserted.parameters())


def test_other_sizes_do_too():
    net = built()
    for size in ((47, 33), (96, 64)):
        assert net(torch.randn(2, 1, *size)).shape == (2, 3, *size)


def test_a_module_is_in_the_features_and_enlarges_them():
    """AttZoom after the stem doubles what follows; the same weights with a gate that is shut give other logits."""
    plain, zoomed = built(), built(attention=AttZoom)
    assert zoomed.levels == plain.levels and zoomed.insertion_sites == ["maxpool"]
    images = torch.randn(2, 1, 48, 48)
    sizes = [[tuple(one.shape[2:]) for one in net.host.forward_intermediates(images, intermediates_only=True)]
             for net in (plain, zoomed)]  # fmt: skip
    assert sizes[0] == [(24, 24), (12, 12), (6, 6), (3, 3), (2, 2)]
    assert sizes[1] == [(24, 24), (24, 24), (12, 12), (6, 6), (3, 3)]
    # What the decoder's layers take; the finest of its features lies behind the module.
    cells = [3 * sum(side**2 * width for side, width in zip(sides, (32, 48, 192, 96), strict=True))
             for sides in ((12, 6, 3, 2), (24, 12, 6, 3))]  # fmt: skip
    hosts = [
        build_model(TINY, num_classes=3, in_chans=1, image_size=48, attention=module) for module in (None, AttZoom)
    ]
    for net, host, own in zip((plain, zoomed), hosts, cells, strict=True):
        assert macs(net, images[:1]) == macs(host, images[:1]) - 3 * 96 + own  # and no classifier


def test_our_resnet_gives_its_stages():
    torch.manual_seed(0)
    net, images = ResNet20(5, 1).eval(), torch.randn(2, 1, 16, 16)
    seen = {}
    for name in ("layer1", "layer2", "layer3"):
        net.get_submodule(name).register_forward_hook(lambda _m, _a, out, name=name: seen.update({name: out}))
    found = net.forward_intermediates(images)
    net(images)
    for one, other in zip(found, seen.values(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(net.forward_intermediates(images, indices=[2])[0], found[2])


def test_a_transformer_gives_the_quarters_of_its_depth():
    net, loupe = built(VIT), built(VIT, attention=Loupe, at="stage4")
    assert net.levels.indices == (0, 1, 2, 3) and not net.levels.is_pyramid
    assert built(partial(VIT, depth=12)).levels.indices == (2, 5, 8, 11)
    images = torch.randn(2, 1, 48, 48)
    assert loupe(images).shape == (2, 3, 48, 48) and attention_maps(loupe)["blocks_3"].shape == (2, 1, 6, 6)
    copied = copy.deepcopy(loupe)
    copied.inserted.blocks_3.module = torch.nn.Identity()
    assert not torch.allclose(copied(images), loupe(images))


def test_of_few_features_all_are_read():
    assert [len(built(backbone).decoder.classify) for backbone in (TINY, resnet20)] == [4, 3]


def test_the_host_may_see_larger_images():
    plain, large = built(), built(decoder=partial(fcn, enlarge=2))
    large.load_state_dict(plain.state_dict())
    images = torch.randn(2, 1, 48, 48)
    twice = F.interpolate(images, scale_factor=2, mode="bilinear")
    expected = F.interpolate(plain.eval().decoder([twice, *plain.host.forward_intermediates(
        twice, intermediates_only=True)]), size=(48, 48), mode="bilinear")  # fmt: skip
    torch.testing.assert_close(large.eval()(images), expected)


def test_the_decoder_is_the_head():
    net = built(attention=AttZoom)
    names = {name for name, _ in net.named_parameters()}
    decoder = {name for name in names if name.startswith("decoder.")}
    module = {name for name in names if "inserted" in name.split(".")}
    assert part_parameters(net, "head") == decoder and part_parameters(net, "module") == module
    rates = factors(net, layer_decay=None, head_factor=4.0, module_factor=2.0)
    assert {name for name, rate in rates.items() if rate == 4} == decoder
    assert {name for name, rate in rates.items() if rate == 2} == module
    assert set(factors(net, layer_decay=None, head_factor=1.0, module_factor=2.0).values()) == {1.0, 2.0}


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: built(VIT, attention=AttZoom, at="stage2"), "AttZoom makes 4 times the tokens, and VisionTransformer"),
        (lambda: built(decoder=partial(fcn, features=0)), r"decoder\.features=0"),
        (lambda: built(decoder=partial(fcn, enlarge=0.5)), r"decoder\.enlarge=0\.5"),
        (lambda: built(decoder=partial(fcn, enlarge=1.5), backbone=VIT), "gives no features of 72 x 72 pixels"),
        (lambda: built(lambda **_: built()), "decoder: the backbone is a whole segmenter already; decoder=none"),
        (lambda: built(lambda **_: torch.nn.Flatten()), "decoder: Flatten gives no features of its stages"),
        (lambda: built(VIT, tokens=lambda vit, **_: vit), "decoder: needs all patches where they are"),
    ],
)
def test_refusals(act, said):
    with pytest.raises(InputError, match=said):
        act()
