"""Insertion on many families of backbones: the host is unchanged, the module sees the right features, exactly once."""

import copy

import pytest
import timm
import torch
from torch import nn

from tests.host import Host
from zoomexp.attention.cbam import CBAM
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.errors import InputError
from zoomexp.insertion import Inserted, Layout, attention_maps, insert, sites

# Name -> input side. Small members of many families, at a small size.
FAMILIES = {
    "resnet20": 32,
    "resnet10t": 64,
    "resnext26ts": 64,
    "mobilenetv1_100": 64,
    "mobilenetv2_050": 64,
    "mobilenetv3_small_050": 64,
    "densenet121": 64,
    "vgg11": 32,
    "efficientnet_b0": 64,
    "regnety_002": 64,
    "convnext_atto": 64,
    "inception_next_atto": 64,
    "inception_v3": 96,
    "ghostnet_050": 64,
    "swin_tiny_patch4_window7_224": 64,
    "swinv2_tiny_window8_256": 64,
    "pvt_v2_b0": 64,
    "test_maxvit": 160,
    "test_coatnet": 160,
    "mobilevitv2_050": 64,
    "poolformer_s12": 64,
    "efficientformer_l1": 224,
    "levit_128s": 224,
    "deit_tiny_patch16_224": 64,
    "deit3_small_patch16_224": 64,
    "vit_small_patch14_reg4_dinov2": 56,
    "eva02_tiny_patch14_224": 56,
    "xcit_nano_12_p16_224": 64,
    "cait_xxs24_224": 64,
    "mixer_s32_224": 128,
    "fastvit_t8": 64,
    "davit_tiny": 64,
    "focalnet_tiny_srf": 64,
}
SWIN = {"window_size": 4, "embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2)}
FEWER = {  # layers and channels than the smallest member of the family has
    "swin_tiny_patch4_window7_224": SWIN,
    "swinv2_tiny_window8_256": SWIN,
    "efficientformer_l1": {"depths": (1, 1, 1, 2), "embed_dims": (16, 24, 32, 48)},
    "deit3_small_patch16_224": {"depth": 4},
    "vit_small_patch14_reg4_dinov2": {"depth": 4},
    "cait_xxs24_224": {"depth": 8},
    "vgg11": {"mlp_ratio": 0.01},
}
NO_STEM_MODULE = {"levit_128s"}  # its stem's output is reshaped by a function on the way to the first stage


class Scale(nn.Module):
    """Multiplies a feature map by `factor` and counts its calls."""

    def __init__(self, channels: int, factor: float) -> None:
        super().__init__()
        self.channels, self.factor, self.calls = channels, factor, 0
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))  # fits the right channel axis only

    def forward(self, x):
        assert x.shape[1] == self.channels
        self.calls += 1
        return self.factor * x * self.weight


@pytest.fixture(scope="module", params=FAMILIES)
def host(request):
    """A backbone with random weights in eval mode, and an image for it."""
    torch.manual_seed(0)
    size = FAMILIES[request.param]
    if request.param == "resnet20":
        net = ResNet20()
    else:
        fixed = {"img_size": size} if timm.get_pretrained_cfg(request.param).fixed_input_size else {}
        net = timm.create_model(request.param, num_classes=5, **fixed, **FEWER.get(request.param, {}))
    image = torch.randn(1, 3, size, size)
    return request.param, net.eval(), image


@pytest.fixture
def without_numbers():
    """Networks have shapes alone, which is all that places depend on."""
    with torch.device("meta"):
        yield


def at_site(net: nn.Module, path: str, image: torch.Tensor) -> torch.Tensor:
    """The output of the module at `path` in one forward."""
    outputs = []
    handle = net.get_submodule(path).register_forward_hook(lambda _m, _a, output: outputs.append(output.clone()))
    with torch.no_grad():
        net(image)
    handle.remove()
    return outputs[0]


def places(name: str) -> list:
    return ["stage2"] if name in NO_STEM_MODULE else ["stem", "stage2"]


def test_identity_leaves_logits_and_keys(host):
    name, net, image = host
    before = net.state_dict().keys()
    with torch.no_grad():
        plain = net(image)
        net = copy.deepcopy(net)
        insert(net, lambda channels: nn.Identity(), [*places(name), "last"], image)
        assert torch.equal(net(image), plain)
    assert set(before) == set(net.state_dict())


def test_doubling_doubles_the_site_and_nothing_else(host):
    name, net, image = host
    for place in places(name):
        changed = copy.deepcopy(net)
        path = insert(changed, lambda channels: Scale(channels, 2.0), place, image)[0]
        inserted = next(iter(changed.inserted.values()))
        expected = at_site(net, path, image).clone()
        if inserted.layout.kind == "tokens":
            expected[:, inserted.layout.prefix :] *= 2
            assert inserted.layout.prefix in (0, getattr(net, "num_prefix_tokens", 0))
        else:
            expected *= 2
        assert torch.equal(at_site(changed, path, image), expected)


def test_called_once_with_and_without_checkpointing(host):
    name, net, image = host
    net = copy.deepcopy(net)
    insert(net, lambda channels: Scale(channels, 1.0), [*places(name), "last"], image)
    modules = [inserted.module for inserted in net.inserted.values()]
    modes = [False]
    if hasattr(net, "set_grad_checkpointing"):
        modes += [True]
    for mode in modes:
        if mode:
            try:
                net.set_grad_checkpointing(True)
            except AssertionError:
                continue  # timm: this family has no checkpointing
        for module in modules:
            module.calls = 0
        net(image.clone().requires_grad_())
        assert [module.calls for module in modules] == [1] * len(modules)


def test_deepcopy_drives_its_own_module(host):
    name, net, image = host
    net = copy.deepcopy(net)
    insert(net, lambda channels: Scale(channels, 1.0), places(name)[-1], image)
    twin = copy.deepcopy(net)
    own, other = (next(iter(n.inserted.values())).module for n in (twin, net))
    own.calls = other.calls = 0
    twin(image).sum().backward()
    assert (own.calls, other.calls) == (1, 0)
    assert own.weight.grad is not None
    assert other.weight.grad is None


def test_at_least_twenty_families():
    assert len(FAMILIES) >= 20


@pytest.mark.usefixtures("without_numbers")
def test_named_places_on_the_papers_hosts():
    def paths(net, at, size):
        return insert(net, lambda channels: nn.Identity(), at, torch.zeros(1, 3, size, size))

    assert paths(timm.create_model("resnet50"), "stem", 64) == ["maxpool"]
    assert paths(timm.create_model("resnet50"), "stage1", 64) == ["layer1"]
    assert paths(timm.create_model("densenet121"), ["stem", "stage1"], 64) == [
        "features.pool0",
        "features.denseblock1",
    ]
    assert paths(timm.create_model("vgg11"), "stem", 32) == ["features.2"]
    assert paths(timm.create_model("mobilenetv2_050"), "stem", 64) == ["blocks.0"]
    deit = "deit_tiny_patch16_224"
    assert paths(timm.create_model(deit), "every_stage", 224) == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    assert paths(ResNet20(), "every_stage", 32) == ["layer1", "layer2", "layer3"]
    assert paths(ResNet20(), "stem", 32) == ["act1"]
    assert paths(ResNet20(), ["layer1.1", "layer3.2"], 32) == ["layer1.1", "layer3.2"]
    assert paths(ResNet20(), [0, -1, 2], 32) == ["layer1", "layer3"]
    swin = timm.create_model("swin_tiny_patch4_window7_224")
    assert paths(swin, "stage2", 224) == ["layers.1"]
    assert next(iter(swin.inserted.values())).layout.kind == "NHWC"


@pytest.mark.usefixtures("without_numbers")
def test_within_and_between_blocks():
    def paths(net, at):
        return insert(net, lambda channels: nn.Identity(), at, torch.zeros(1, 3, 64, 64))

    nine = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert paths(ResNet20(), "between_blocks") == nine
    assert paths(ResNet20(), "within_blocks") == [f"{path}.bn2" for path in nine]
    bottlenecks = paths(timm.create_model("resnet50"), "within_blocks")
    assert len(bottlenecks) == 16 and all(path.endswith(".bn3") for path in bottlenecks)
    assert paths(timm.create_model("resnet18"), "within_blocks")[0] == "layer1.0.bn2"
    skipping = paths(timm.create_model("mobilenetv2_050"), "within_blocks")  # blocks that change the size have no sum
    assert len(skipping) == 10 and all(path.endswith(".bn3") for path in skipping)
    with pytest.raises(InputError, match=r"^insertion\.at=within_blocks: ConvNeXt has no residual blocks"):
        paths(timm.create_model("convnext_atto"), "within_blocks")


def test_within_is_before_the_sum_and_between_after_it():
    torch.manual_seed(0)
    net, image = ResNet20().eval(), torch.randn(1, 3, 32, 32)
    within, between = copy.deepcopy(net), copy.deepcopy(net)
    insert(within, lambda channels: Scale(channels, 2.0), "within_blocks", image)
    insert(between, lambda channels: Scale(channels, 2.0), "between_blocks", image)
    x, block = torch.randn(1, 16, 8, 8), net.layer1[1]
    branch = block.bn2(block.conv2(block.act(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(within.layer1[1](x), (2 * branch + x).relu())
    torch.testing.assert_close(between.layer1[1](x), 2 * (branch + x).relu())


@pytest.mark.parametrize("at", [[], "stage9", "stage4", 3, -4, [0, "middle"], 1.5, True])
def test_missing_sites_are_listed(at):
    with pytest.raises(InputError, match=r"insertion\.at.*0=layer1 \(16 ch, stride 1\), 1=layer2.*2=layer3") as error:
        insert(ResNet20(), lambda channels: nn.Identity(), at, torch.zeros(1, 3, 32, 32))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("without_numbers")
def test_hosts_that_cannot_carry_a_module_say_why():
    image = torch.zeros(1, 3, 224, 224)
    with pytest.raises(InputError, match="no square grid"):
        insert(timm.create_model("hiera_tiny_224"), lambda channels: nn.Identity(), "stage1", image)
    with pytest.raises(InputError, match="Twins lists stages that are no modules"):
        sites(timm.create_model("twins_svt_small"))
    with pytest.raises(InputError, match="Linear does not list its stages"):
        sites(nn.Linear(1, 1))


class Enlarge(nn.Module):
    """Nearest-neighbour zoom by two."""

    zoom_factor = 2

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x):
        self.map = x.mean(1, keepdim=True).sigmoid()
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "deit_tiny_patch16_224"])
def test_zooming_inside_a_transformer(name):
    net = timm.create_model(name, img_size=64, **FEWER.get(name, {})).eval()
    image = torch.randn(2, 3, 64, 64)
    insert(net, Enlarge, ["stage2", "last"], image[:1])
    with torch.no_grad():
        together, alone = net(image), net(image[:1])
    assert torch.allclose(together[:1], alone, atol=1e-5)
    assert len(attention_maps(net)) == 2


def test_a_module_the_host_cannot_run_with_is_refused():
    class Shrink(nn.Module):
        def __init__(self, channels):
            super().__init__()

        def forward(self, x):
            return x[:, :1]

    with pytest.raises(InputError, match=r"ResNet20 cannot run with Shrink at \['layer1'\]"):
        insert(ResNet20(), Shrink, "stage1", torch.zeros(1, 3, 32, 32))


def test_maps_keep_their_gradient_under_checkpointing():
    torch.manual_seed(0)
    image = torch.randn(2, 3, 64, 64)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        net = timm.create_model("resnet10t", num_classes=3)
        insert(net, lambda channels: MapFromConv(channels), "stage2", image[:1])
        net.set_grad_checkpointing(checkpointing)
        (net(image).square().mean() + attention_maps(net)["layer2"].mean()).backward()
        gradients.append(net.inserted["layer2"].module.conv.weight.grad)
    assert torch.allclose(*gradients, atol=1e-6)
    assert gradients[0].abs().sum() > 0


class MapFromConv(nn.Module):
    """A gate with one convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        self.map = self.conv(x).sigmoid()
        return x * self.map


def test_prefix_tokens_pass_by():
    tokens = torch.randn(2, 1 + 4, 3)
    doubled = Inserted(Scale(3, 2.0), Layout("tokens", 1, (2, 2)), "")(tokens)
    assert torch.equal(doubled[:, 0], tokens[:, 0])
    assert torch.equal(doubled[:, 1:], 2 * tokens[:, 1:])


def test_cbam_between_blocks_has_the_checkpoints_parameters():
    net = ResNet20()
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (1, 2)]
    insert(net, lambda channels: CBAM(channels, reduction=4), blocks, torch.zeros(1, 3, 32, 32))
    assert sum(p.numel() for p in net.parameters()) == 275_692


def test_inserting_again_adds_and_both_act():
    net, x = Host(), torch.randn(2, 1, 4, 4)
    net.conv = nn.Sequential(net.conv, nn.ReLU())
    expected = net.fc(((net.conv[0](x) * 2).relu() * 3).mean((2, 3)))
    insert(net, lambda channels: Scale(channels, 2.0), "conv.0", x[:1])
    insert(net, lambda channels: Scale(channels, 3.0), "conv", x[:1])
    assert torch.equal(net(x), expected)
    assert list(net.inserted) == ["conv_0", "conv"]
    assert len([key for key in net.state_dict() if key.startswith("inserted.")]) == 2
    twin = copy.deepcopy(net).double()  # moved with the host
    assert {parameter.dtype for parameter in twin.inserted.parameters()} == {torch.float64}
    torch.testing.assert_close(twin(x.double()).float(), expected)


@pytest.mark.parametrize("at", ["conv", 0, "last", ["conv", 0]])
def test_a_place_where_a_module_stands_is_refused_in_one_line(at):
    net, x = Host(), torch.randn(1, 1, 4, 4)
    if not isinstance(at, list):
        insert(net, lambda channels: Scale(channels, 2.0), "conv", x)
    with pytest.raises(InputError, match=r"^insertion\.at=conv: a Scale stands there already; name another place, or "):
        insert(net, lambda channels: Scale(channels, 2.0), at, x)
