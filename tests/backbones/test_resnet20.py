"""ResNet-20 against the same network written out in functional form, and its shortcut by hand."""

import pytest
import torch
from torch.nn import functional as F

from zoomexp.backbones.resnet20 import BasicBlock, ResNet20, resnet20
from zoomexp.errors import InputError


def test_the_shortcut_by_hand():
    block = BasicBlock(2, 4, stride=2)
    x = torch.arange(24.0).view(1, 2, 3, 4)
    expected = torch.tensor([
        [[0.0, 0.0], [0.0, 0.0]],  # the new channels are zeros: half of them before ...
        [[0.0, 2.0], [8.0, 10.0]],  # every second pixel of the old ones
        [[12.0, 14.0], [20.0, 22.0]],
        [[0.0, 0.0], [0.0, 0.0]],  # ... and half after
    ])  # fmt: skip
    assert torch.equal(block.shortcut(x), expected[None])
    same = BasicBlock(2, 2, stride=1)
    assert torch.equal(same.shortcut(x), x)


def norm(x, state, name):
    scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-5).sqrt()
    shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def block(x, state, name, stride):
    y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
    y = F.conv2d(norm(y, state, f"{name}.bn1").clamp(min=0), state[f"{name}.conv2.weight"], padding=1)
    y = norm(y, state, f"{name}.bn2")
    grown = torch.zeros_like(y)
    first = (y.shape[1] - x.shape[1]) // 2
    grown[:, first : first + x.shape[1]] = x[:, :, ::stride, ::stride]
    return (y + grown).clamp(min=0)


def test_the_whole_network_in_functional_form():
    torch.manual_seed(0)
    net = ResNet20(num_classes=7, in_chans=2).double()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for value, low in ((module.weight, 0.5), (module.bias, -1), (module.running_mean, -1)):
                value.data.uniform_(low, 1)
            module.running_var.uniform_(0.5, 2)
    state = net.eval().state_dict()
    image = torch.randn(3, 2, 17, 12, dtype=torch.float64)
    x = norm(F.conv2d(image, state["conv1.weight"], padding=1), state, "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for index in range(3):
            x = block(x, state, f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1)
        assert x.shape[1:] == {1: (16, 17, 12), 2: (32, 9, 6), 3: (64, 5, 3)}[stage]
    logits = x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    with torch.no_grad():
        torch.testing.assert_close(net(image), logits, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(net.forward_features(image), x, rtol=1e-9, atol=1e-9)
    assert set(state) == {
        key for key in state if key.split(".")[0] in ("conv1", "bn1", "layer1", "layer2", "layer3", "fc")
    }


@pytest.mark.parametrize("side", [4, 8, 28, 32])
def test_shapes(side):
    net = resnet20(num_classes=10, in_chans=1, image_size=side)
    assert net(torch.zeros(2, 1, side, side)).shape == (2, 10)
    assert [row["num_chs"] for row in net.feature_info] == [16, 32, 64]


def test_weights_start_he_normal_in_fan_out():
    torch.manual_seed(0)
    weight = ResNet20().layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=1e-3)


def test_another_name_is_one_of_timms():
    net = resnet20(name="resnet10t", num_classes=3, in_chans=1).eval()
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet32"}, r"backbone\.name=resnet32: timm has no such model"),
        ({"pretrained": True}, r"backbone\.pretrained=true: resnet20"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        resnet20(**arguments)
