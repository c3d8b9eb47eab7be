"""The decoders of segmentation-models-pytorch: its own networks on copied weights, any size, any module, refusals."""

import copy
from functools import partial

import pytest
import torch

from tests.decoders.test_fcn import SWIN, TINY, VIT, built
from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.loupe import Loupe
from zoomexp.backbones.from_timm import from_timm
from zoomexp.backbones.resnet20 import resnet20
from zoomexp.decoders.fpn import fpn
from zoomexp.decoders.unet import unet
from zoomexp.decoders.upernet import upernet
from zoomexp.errors import InputError
from zoomexp.insertion import attention_maps

smp = pytest.importorskip("segmentation_models_pytorch", reason="the extra `segmentation` is not installed")
DECODERS = {"Unet": unet, "FPN": fpn, "UPerNet": upernet}
CONVNEXT = partial(from_timm, "test_convnext")


def theirs(kind, name):
    torch.manual_seed(3)
    net = getattr(smp, kind)(f"tu-{name}", encoder_weights=None, in_channels=1, classes=3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


def with_weights_of(other, net):
    """Ours with their weights."""
    renamed = {
        key.removeprefix("model.").replace("stages_", "stages.").replace("stem_", "stem."): value
        for key, value in other.encoder.state_dict().items()
    }
    missing, unexpected = net.host.load_state_dict(renamed, strict=False)
    assert not unexpected and all(key.startswith("head") for key in missing)
    inner = net.decoder.decoder
    getattr(inner, "decoder", inner).load_state_dict(other.decoder.state_dict())
    net.decoder.classify.load_state_dict(other.segmentation_head[0].state_dict())
    return net.eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
@pytest.mark.parametrize("kind", DECODERS)
def test_it_is_the_librarys_network(kind, name):
    """Before the logits are brought to the images' size, which the library does by a factor and to the corners."""
    other = theirs(kind, name)
    net = with_weights_of(other, built(partial(from_timm, name), 64, DECODERS[kind]))
    images = torch.randn(2, 1, 64, 96)
    seen = [images, *net.host.forward_intermediates(images, intermediates_only=True)]
    expected = other.segmentation_head[0](other.decoder(other.encoder(images)))
    torch.testing.assert_close(net.decoder(seen), expected, rtol=1e-3, atol=1e-4)  # memory formats round differently
    if kind == "Unet":
        torch.testing.assert_close(net(images), other(images), rtol=1e-3, atol=1e-4)
    assert net(images).shape == (2, 3, 64, 96)


@pytest.mark.parametrize("at", ["stem", "stage2", "last"])
@pytest.mark.parametrize("module", [AttZoom, Loupe])
@pytest.mark.parametrize("decoder", DECODERS.values())
def test_modules_anywhere(decoder, module, at):
    net = built(decoder=decoder, attention=module, at=at)
    assert net(torch.randn(2, 1, 48, 48)).shape == (2, 3, 48, 48)
    assert len(attention_maps(net)) == 1


@pytest.mark.parametrize("decoder", DECODERS.values())
@pytest.mark.parametrize("backbone", [TINY, resnet20, SWIN, CONVNEXT, partial(from_timm, "vgg11", mlp_ratio=0.01)])
def test_hosts_of_all_kinds(decoder, backbone):
    side = 32 if backbone is resnet20 else 64  # whose maps have a quarter of the sides at the least
    net = built(backbone, side, decoder, attention=AttZoom)
    net.train()
    out = net(torch.randn(2, 1, side, side))
    out.square().mean().backward()
    assert out.shape == (2, 3, side, side)
    unused = [name for name, value in net.named_parameters() if value.grad is None]
    # VGG's and others' last layers, which no feature is behind; UPerNet reads features from stride 4 on.
    assert not any(name.startswith("decoder.") for name in unused), unused


@pytest.mark.parametrize("decoder", DECODERS.values())
def test_images_of_any_size(decoder):
    net = built(decoder=decoder).eval()
    for size in ((48, 48), (47, 33), (96, 40)):
        assert net(torch.randn(2, 1, *size)).shape == (2, 3, *size)


def test_a_host_without_stride_two_gets_an_empty_feature():
    net = built(CONVNEXT, 64, unet)
    assert net.levels.strides == (4, 8, 16, 32) and net.decoder.gap
    first = net.decoder.decoder.blocks[-2].conv1[0]
    assert first.in_channels == 64  # what comes from below alone
    assert built(TINY, 64, unet).decoder.gap is False


def test_a_copy_is_one_of_its_own():
    net = built(decoder=unet, attention=AttZoom).eval()
    copied, images = copy.deepcopy(net), torch.randn(1, 1, 48, 48)
    assert torch.equal(copied(images), net(images))
    torch.nn.init.zeros_(copied.decoder.classify.weight)
    assert not torch.equal(copied(images), net(images))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (
            lambda: built(VIT, decoder=unet),
            "decoder=unet: needs features of several sizes, and VisionTransformer gives",
        ),
        (lambda: built(VIT, decoder=upernet, attention=AttZoom, at="stage2"), "AttZoom makes 4 times the tokens"),
        (lambda: built(decoder=partial(unet, width=0)), r"decoder\.width=0"),
        (lambda: built(decoder=partial(fpn, width=40)), r"decoder\.width=40 must be a multiple of 32"),
        (lambda: built(decoder=partial(fpn, dropout=2)), r"decoder\.dropout=2"),
        (lambda: built(decoder=partial(upernet, enlarge=0)), r"decoder\.enlarge=0"),
    ],
)
def test_refusals(act, said):
    with pytest.raises(InputError, match=said):
        act()
