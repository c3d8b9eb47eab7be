"""timm's modules in their wrapper: whole tensors of timm's own layers, inserted, counted, watched and refused."""

import copy
import inspect
import re

import pytest
import torch
from timm.layers import create_attn, get_attn
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from tests.tokens.hosts import randomised
from zoomexp.attention.from_timm import CHANNEL_GATES, NAMES, SPATIAL_GATES, FromTimm
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.errors import InputError
from zoomexp.health.measuring import gate_state
from zoomexp.insertion import insert
from zoomexp.metrics.cost import macs

OPTIONS = {"ge": {"use_mlp": False}, "bottleneck": {"feat_size": [8, 8]}, "bat": {"block_size": 4}}
# Of 64 channels.
PARAMETERS = {
    "se": 1_096, "ese": 4_160, "eca": 3, "ecam": 41, "ceca": 3, "ge": 0, "gc": 1_177, "gca": 1_177, "cbam": 612,
    "lcbam": 563, "coord": 1_552, "scoord": 1_672, "ela": 1_152, "strip": 384, "sk": 38_672, "splat": 43_168,
    "lambda": 7_616, "bottleneck": 12_768, "halo": 12_720, "nl": 2_264, "bat": 3_108,
}  # fmt: skip
every_name = pytest.mark.parametrize("name", NAMES)


def both(name: str, start: str = "paper") -> tuple[FromTimm, nn.Module]:
    """The module and timm's own layer with the same weights, away from where they start."""
    torch.manual_seed(0)
    options = OPTIONS.get(name, {})
    layer = randomised(create_attn(name, 64, **options), 1).double().eval()
    module = FromTimm(64, name=name, start=start, **options).double().eval()
    module.layer.load_state_dict(layer.state_dict())
    return module, layer


def features(*size: int) -> Tensor:
    return torch.randn(2, 64, *(size or (8, 8)), dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@every_name
def test_it_is_timms_own_layer(name):
    module, layer = both(name)
    x = features()
    torch.testing.assert_close(module(x), layer(x), rtol=0, atol=0)
    assert list(module.layer.state_dict()) == list(layer.state_dict())
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS[name]


@every_name
def test_start_identity(name):
    module, layer = both(name, "identity")
    x = features()
    if name == "nl":
        assert module.gamma is None
        assert torch.equal(FromTimm(64, name=name)(x.float()), x.float())  # so it starts anyway
        return
    torch.testing.assert_close(module(x), x, rtol=0, atol=0)
    with torch.no_grad():
        module.gamma.fill_(0.25)
    torch.testing.assert_close(module(x), 0.75 * x + 0.25 * layer(x))


@every_name
def test_gradients_copies_and_bfloat16(name):
    module, _ = both(name)
    module, x = module.float().train(), features().float().requires_grad_()
    (module(x) * torch.randn(2, 64, 8, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    twin = copy.deepcopy(module)
    assert twin.map is None and twin.opening is None
    module, twin = module.eval(), twin.eval()
    torch.testing.assert_close(twin(x), module(x), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x.bfloat16()).dtype == torch.bfloat16
        assert module(x).dtype == torch.float32


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("bottleneck", "halo")])  # need 8 x 8
def test_inside_a_network(name):
    torch.manual_seed(0)
    net, image = ResNet20().eval(), torch.randn(1, 3, 32, 32)
    layer = randomised(create_attn(name, 32, **OPTIONS.get(name, {})), 1).eval()
    plain = copy.deepcopy(net)
    plain.layer2.register_forward_hook(lambda _m, _a, output: layer(output))
    insert(net, lambda c: FromTimm(c, name=name, **OPTIONS.get(name, {})), "stage2", image)
    net.eval().inserted["layer2"].module.layer.load_state_dict(layer.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(net(image), plain(image), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("se", 2 * 64 * 8),  # two layers of 64 x 8
        ("eca", 64 * 3),  # a kernel of 3 along the channels
        ("gc", 64 * 64 + 64 * 64 + 2 * 64 * 8),  # logits of 64 places, their weighted mean, an MLP of 64 x 8
        ("coord", 16 * 64 * 8 + 2 * 8 * 8 * 64),  # 8 rows and 8 columns to 8 channels, and each back to 64
        ("ela", 2 * 8 * 64 * 7),  # a kernel of 7 along rows, and one along columns
        ("strip", 2 * 8 * 64 * 3),
    ],
)
def test_multiply_accumulates(name, count):
    assert macs(FromTimm(64, name=name), torch.zeros(1, 64, 8, 8)) == count


def test_every_name_of_timms_is_known():
    assert set(re.findall(r"attn_type == '(\w+)'", inspect.getsource(get_attn))) == set(NAMES)


def test_squeeze_and_excitation_is_torchvisions():
    module, x = FromTimm(64, name="se"), features().float()
    other = SqueezeExcitation(64, 8)
    other.fc1.load_state_dict(module.layer.fc1.state_dict())
    other.fc2.load_state_dict(module.layer.fc2.state_dict())
    torch.testing.assert_close(module(x), other(x))


def test_coordinate_attention_written_out():
    module, _ = both("coord")
    x, layer = features(4, 6), module.layer
    line = torch.cat([x.mean(3), x.mean(2)], 2)  # (B, C, 4 + 6)
    norm = layer.bn1
    hidden = torch.einsum("rc,bcl->brl", layer.conv1.weight[:, :, 0, 0], line)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    hidden = (hidden - norm.running_mean[:, None]) * scale[:, None] + norm.bias[:, None]
    hidden = hidden * (hidden + 3).clamp(0, 6) / 6
    rows = torch.einsum("cr,brl->bcl", layer.conv_h.weight[:, :, 0, 0], hidden[:, :, :4]).sigmoid()
    columns = torch.einsum("cr,brl->bcl", layer.conv_w.weight[:, :, 0, 0], hidden[:, :, 4:]).sigmoid()
    gates = torch.einsum("bch,bcw->bchw", rows, columns)
    torch.testing.assert_close(module(x), x * gates)
    torch.testing.assert_close(module.map, gates.mean(1, keepdim=True))


@pytest.mark.parametrize("name", SPATIAL_GATES)
def test_the_map_is_the_gate(name):
    """Of an input that is the same in all places and channels, output / input is the gate."""
    module, _ = both(name)
    x = torch.ones(1, 64, 8, 8, dtype=torch.float64) + 0.1 * torch.rand(1, 1, 8, 8, dtype=torch.float64)
    gate = module(x) / x
    if name in ("cbam", "lcbam"):  # whose channels have a gate of their own
        gate = gate / module.layer.channel(x) * x
    torch.testing.assert_close(module.map, gate.mean(1, keepdim=True))
    assert gate_state(module, x, x)["opening"] == pytest.approx(100 * module.map.mean().item())


@pytest.mark.parametrize("name", CHANNEL_GATES)
def test_the_opening_is_the_mean_gate(name):
    module, _ = both(name)
    x = features().abs() + 0.1
    gate = module(x) / x
    assert module.map is None
    assert gate_state(module, x, x)["opening"].item() == pytest.approx(100 * gate.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "best"}, r"attention\.name='best' must be one of se, ese, eca, .*bottleneck"),
        ({"name": "ge"}, r"attention\.name=ge: timm cannot build it for 64 channels \(ConvMlp.*\); it can build se, "
         r"ese, eca, ecam, ceca, gc, cbam, lcbam, coord, scoord, ela, strip, gca, nl, bat, sk, splat, lambda, halo$"),
        ({"name": "bottleneck"}, r"attention\.name=bottleneck: .*feature size.*it can build se, "),
        ({"name": "se", "rd_ratio": "x"}, r"attention\.name=se, attention\.rd_ratio=x: timm cannot build it"),
        ({"name": "se", "reduction": 4}, r"attention\.reduction: timm's se has no such option here; allowed: rd_ratio"),
        ({"name": "ese", "rd_ratio": 0.5}, r"attention\.rd_ratio: timm's ese has .*allowed: add_maxpool, gate_layer$"),
        ({"name": "eca", "kernel_size": 5}, r"attention\.kernel_size: timm's eca has no such option here"),
        ({"name": "sk", "stride": 2}, r"attention\.stride: timm's sk has no such option here"),
        ({"start": "open"}, r"attention\.start='open' must be one of paper, identity"),
    ],
)  # fmt: skip
def test_refusals(options, message):
    with pytest.raises(InputError, match=message) as error:
        FromTimm(64, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("halo", {}, r"^attention\.name=halo: .*multiples of attention\.block_size=8, got 16 x 20$"),
        ("bat", {}, r"^attention\.name=bat: .*multiples of attention\.block_size=7, got 16 x 20$"),
        (
            "bottleneck",
            {"feat_size": [8, 8]},
            r"^attention\.feat_size must be \[16,20\], the map's size at this place$",
        ),
    ],
)
def test_maps_that_do_not_suit(name, options, message):
    net = ResNet20()
    with pytest.raises(InputError, match=message.replace("^", r"insertion\.at: .*: ")):
        insert(net, lambda c: FromTimm(c, name=name, **options), "stage2", torch.zeros(1, 3, 32, 40))
