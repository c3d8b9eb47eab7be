"""A test without training needs weights; they say where they came from, and are handed on to the network."""

from functools import partial

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from zoomexp.backbones.from_timm import from_timm
from zoomexp.backbones.resnet20 import resnet20
from zoomexp.backbones.start_weights import StartWeights, check_weights
from zoomexp.errors import InputError
from zoomexp.model import build_model
from zoomexp.tokens.tome import tome

SMALL = {"name": "vit_tiny_patch16_224", "image_size": 32, "embed_dim": 8, "depth": 3, "num_heads": 2}


def vit(**options) -> nn.Module:
    net = from_timm(**SMALL, **options)
    net.start_weights = StartWeights("by hand", classifier=True, by_run=True, temperature=1.5)
    return net


@pytest.mark.parametrize("tokens", [None, partial(tome, r=1)])
def test_the_network_says_what_its_backbone_said(tokens):
    net = build_model(vit, num_classes=5, in_chans=3, image_size=32, tokens=tokens)
    assert net.start_weights == StartWeights("by hand", True, by_run=True, temperature=None if tokens else 1.5)
    random = build_model(partial(from_timm, **SMALL), num_classes=5, in_chans=3, image_size=32, tokens=tokens)
    assert random.start_weights is None


@pytest.mark.parametrize(("classes", "classifier"), [(1000, True), (5, False)])
def test_weights_of_timm(monkeypatch, classes, classifier):
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: None)
    net = from_timm("vit_tiny_patch16_224", pretrained=True, image_size=224, num_classes=classes)
    assert net.start_weights == StartWeights("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", classifier)


@pytest.mark.parametrize(("classes", "classifier"), [(4, True), (5, False)])
def test_weights_of_a_file(tmp_path, classes, classifier):
    file = tmp_path / "net.pth"
    for name in ("test_resnet", "resnet20"):
        torch.save(resnet20(name, num_classes=4, in_chans=3).state_dict(), file)
        net = resnet20(name, weights=str(file), num_classes=classes, in_chans=3)
        assert net.start_weights == StartWeights(str(file), classifier)


def test_what_is_tested_without_training_has_weights():
    net = nn.Linear(1, 1)
    with pytest.raises(InputError, match="evaluate=start: the network has no weights but random ones; choose"):
        check_weights(net, None)
    check_weights(net, "a.ckpt")
    net.start_weights = StartWeights("timm/a", classifier=True)
    check_weights(net, None)
    net.start_weights = StartWeights("timm/a", classifier=False)
    with pytest.raises(InputError, match="evaluate=start: timm/a has other classes than the data"):
        check_weights(net, None)


def rates(net: nn.Module) -> list[float]:
    return [module.drop_prob for module in net.modules() if isinstance(module, DropPath)]


def test_stochastic_depth_at_one_rate_or_rising():
    rising = from_timm(**SMALL, drop_path_rate=0.2)
    assert rates(rising) == pytest.approx([0.1, 0.1, 0.2, 0.2])  # the first block has none
    level = from_timm(**SMALL, drop_path_rate=0.2, drop_path_ramp=False)
    assert rates(level) == [0.2] * 6
    images = torch.zeros(2, 3, 32, 32)
    level.load_state_dict(rising.state_dict())
    assert torch.equal(level.eval()(images), rising.eval()(images))
    with pytest.raises(InputError, match=r"backbone\.drop_path_ramp=false: VGG has no blocks with stochastic depth"):
        from_timm("vgg11", drop_path_ramp=False, num_classes=2, mlp_ratio=0.01)
