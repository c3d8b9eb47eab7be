"""Grad-CAM of each layout against the library called by hand."""

import pytest
import timm
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from zoomexp.analysis.cam import ClassActivation
from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.loupe import Loupe
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.errors import InputError
from zoomexp.insertion import insert

SMALL_SWIN = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
SMALL_VIT = {"embed_dim": 24, "depth": 3, "num_heads": 3}


def nhwc(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2)


def patches(x: torch.Tensor) -> torch.Tensor:
    return x[:, 1:].transpose(1, 2).unflatten(2, (4, 4))


CASES = {
    "resnet50": (64, {}, lambda net: net.layer4[-1], None),
    "swin_tiny_patch4_window7_224": (64, SMALL_SWIN, lambda net: net.layers[-1], nhwc),
    "deit_tiny_patch16_224": (64, SMALL_VIT, lambda net: net.blocks[-1].norm1, patches),
}


def grad_cam(net: nn.Module, images: torch.Tensor, targets: torch.Tensor | None = None, at=None) -> torch.Tensor:
    return ClassActivation(net, images[:1], at)(images, targets)


def network(name: str, **options) -> tuple[nn.Module, torch.Tensor]:
    side, small, *_ = CASES[name]
    torch.manual_seed(0)
    size = {"img_size": side} if small else {}
    net = timm.create_model(name, num_classes=5, **size, **small, **options).eval()
    for parameter in net.parameters():  # zero-initialised layers would hide what lies behind them
        nn.init.normal_(parameter, std=0.1) if parameter.ndim > 1 else None
    return net, torch.randn(2, 3, side, side)


@pytest.mark.parametrize("name", CASES)
def test_it_equals_the_library_called_by_hand(name):
    net, images = network(name)
    _, _, layer, reshape = CASES[name]
    targets = torch.tensor([3, 1])
    found = grad_cam(net, images, targets)
    expected = GradCAM(net, [layer(net)], reshape)(images, [ClassifierOutputTarget(t) for t in targets.tolist()])
    torch.testing.assert_close(found, torch.from_numpy(expected))
    assert found.amax((1, 2)).min() > 0.99  # not the flat zero map of a layer that the class does not see
    assert not torch.equal(found, grad_cam(net, images, 4 - targets))


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "deit_tiny_patch16_224"])
def test_it_equals_the_library_at_full_size(name):
    torch.manual_seed(0)
    net, images = timm.create_model(name).eval(), torch.randn(1, 3, 224, 224)
    _, _, layer, _ = CASES[name]
    rows = 14 if "deit" in name else 7
    reshape = nhwc if "swin" in name else lambda x: x[:, 1:].transpose(1, 2).unflatten(2, (rows, rows))
    expected = GradCAM(net, [layer(net)], reshape)(images, [ClassifierOutputTarget(3)])
    torch.testing.assert_close(grad_cam(net, images, torch.tensor([3])), torch.from_numpy(expected))


def test_the_predicted_class_is_explained_where_none_is_named():
    net, images = network("resnet50")
    assert torch.equal(grad_cam(net, images), grad_cam(net, images, net(images).argmax(1)))


@pytest.mark.parametrize("at", ["last", "stage1"])
def test_inserted_modules_are_seen_through(at):
    torch.manual_seed(0)
    net, images = ResNet20(10, 3).eval(), torch.randn(2, 3, 32, 32)
    insert(net, AttZoom, at, images[:1])
    kept = net.inserted
    features, grads = [], []

    def keep(_m, _a, output):
        features.append(output)
        output.register_hook(grads.append)

    handle = net.layer3[-1].register_forward_hook(keep)  # behind the module's own hook
    net(images)[:, 2].sum().backward()
    handle.remove()
    weighted = (grads[0].mean((2, 3), keepdim=True) * features[0]).sum(1).relu().detach()
    found = grad_cam(net, images, torch.tensor([2, 2]))
    peaks = nn.functional.adaptive_max_pool2d(found, weighted.shape[1:])
    assert torch.equal(peaks.flatten(1).argmax(1), weighted.flatten(1).argmax(1))
    assert net.inserted is kept and isinstance(net.inserted["layer3" if at == "last" else "layer1"].module, AttZoom)


def test_the_network_is_left_as_it_was():
    net, images = network("resnet50")
    insert(net, Loupe, "stage2", images[:1])
    net.train().requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    hooks = {name: len(module._forward_hooks) for name, module in net.named_modules()}
    grad_cam(net, images)
    assert net.training and all(not p.requires_grad and p.grad is None for p in net.parameters())
    assert {name: len(module._forward_hooks) for name, module in net.named_modules()} == hooks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_another_place():
    net, images = network("resnet50")
    expected = GradCAM(net, [net.layer2])(images, [ClassifierOutputTarget(0)] * 2)
    torch.testing.assert_close(grad_cam(net, images, torch.tensor([0, 0]), at="layer2"), torch.from_numpy(expected))
    with pytest.raises(InputError, match="no site 'layer9'"):
        grad_cam(net, images, at="layer9")
