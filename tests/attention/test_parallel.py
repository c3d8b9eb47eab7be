"""Parallel against its branches run one by one, and the parameters counted by hand."""

from functools import partial

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor, nn
from torch.nn import functional as F

from tests.attention.test_contract import CONFIGS
from tests.tokens.hosts import randomised
from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.cbam import CBAM
from zoomexp.attention.loupe import Loupe
from zoomexp.attention.multi_head import MultiHead
from zoomexp.attention.parallel import KINDS, Parallel
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs
from zoomexp.model import build_model
from zoomexp.protocols import acting
from zoomexp.run.build import make

THREE = {"one": partial(SelfAttention, gamma=1), "two": CBAM, "three": Loupe}


def features(channels: int = 16) -> Tensor:
    return 0.5 * torch.randn(2, channels, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def built(combine: str, channels: int = 16) -> Parallel:
    torch.manual_seed(0)
    return randomised(Parallel(channels, branches=THREE, combine=combine), 1).double()


def expected(module: Parallel, x: Tensor) -> Tensor:
    one, two, three = module.branches.values()
    if module.combine == "series":
        return three(two(one(x)))
    if module.combine == "split":
        return torch.cat([one(x[:, :6]), two(x[:, 6:11]), three(x[:, 11:])], 1)
    y = [one(x), two(x), three(x)]
    if module.combine == "concat":
        weight, bias = module.join.weight[:, :, 0, 0], module.join.bias
        return torch.einsum("oc,bchw->bohw", weight, torch.cat(y, 1)) + bias[:, None, None]
    shares = {"sum": torch.ones(3), "mean": torch.ones(3) / 3}.get(module.combine)
    shares = module.weights.exp() / module.weights.exp().sum() if shares is None else shares.double()
    return shares[0] * y[0] + shares[1] * y[1] + shares[2] * y[2]


@pytest.mark.parametrize("combine", KINDS)
def test_it_is_the_branches_combined(combine):
    module, x = built(combine), features()
    torch.testing.assert_close(module(x), expected(module, x))
    maps = [module.branches[name].map for name in ("two", "three")]
    torch.testing.assert_close(module.map, (maps[0] + maps[1]) / 2)


@pytest.mark.parametrize("combine", ["concat", "gated"])
def test_it_starts_as_the_mean(combine):
    torch.manual_seed(0)
    module, x = Parallel(16, branches=THREE, combine=combine).double(), features()
    torch.testing.assert_close(module(x), sum(branch(x) for branch in module.branches.values()) / 3)


def test_shares_of_the_channels():
    module = Parallel(17, branches=THREE, combine="split")
    assert [branch.value.in_channels for branch in [module.branches["one"]]] == [7]
    assert module.shares == [7, 5, 5]


def test_without_maps_and_without_modules():
    x = features()
    module = Parallel(16, branches={"one": None, "two": {}}).double()
    torch.testing.assert_close(module(x), x)
    assert module.map is None
    assert sum(p.numel() for p in module.parameters()) == 2 * 16 * 16 + 16


def network(overrides: list[str]) -> nn.Module:
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS.parent)):
        cfg = compose("train", overrides=["backbone=resnet20", "attention=parallel", *overrides])
    return build_model(ResNet20, num_classes=10, in_chans=3, image_size=32, attention=make(cfg.attention))


SELF_ATTENTION, CBAM_16, JOIN, MULTI_HEAD = 16_467, 969, 528 + 2_080 + 8_256, 21_955
FIRST, SECOND, THIRD = (f"attention@attention.branches.{name}" for name in ("first", "second", "third"))


@pytest.mark.parametrize(
    ("overrides", "modules"),
    [
        ([], SELF_ATTENTION + CBAM_16 + JOIN),  # 298,022 in all
        (["attention.combine=sum"], SELF_ATTENTION + CBAM_16),
        (["attention.combine=gated"], SELF_ATTENTION + CBAM_16 + 3 * 2),
        (["attention.combine=series", f"{FIRST}=cbam", f"{SECOND}=self_attention"], SELF_ATTENTION + CBAM_16),
        ([f"{FIRST}=multi_head"], MULTI_HEAD + CBAM_16 + JOIN),
        ([f"{FIRST}=none", f"{SECOND}=none"], JOIN),
        (["attention.combine=mean", f"+{THIRD}=multi_head"], SELF_ATTENTION + CBAM_16 + MULTI_HEAD),
    ],
)
def test_parameters_of_resnet20_by_its_config(overrides, modules):
    net = network(overrides)
    assert sum(p.numel() for p in net.parameters()) == 269_722 + modules
    if not overrides:
        assert 269_722 + modules == 298_022


def test_multiply_accumulates_are_those_of_the_branches_and_the_convolution():
    x = torch.zeros(1, 16, 8, 8)
    alone = macs(SelfAttention(16), x) + macs(CBAM(16), x)
    both = {"one": SelfAttention, "two": CBAM}
    assert macs(Parallel(16, branches=both, combine="sum"), x) == alone
    assert macs(Parallel(16, branches=both), x) == alone + 64 * 32 * 16


def test_branches_act_by_name():
    net = network([f"{SECOND}=none"])
    assert list(acting(net)) == [f"layer{i}{branch}" for i in (1, 2, 3) for branch in ("", "/first")]
    assert acting(net)["layer2/first"].gamma.item() == 0


@pytest.mark.parametrize(
    ("branches", "combine", "message"),
    [
        (THREE, "both", r"attention\.combine='both' must be one of concat, split, sum, mean, gated, series"),
        ({"one": CBAM}, "sum", r"attention\.branches must be at least two modules, each by a name, got 1"),
        ({"one": CBAM, "two": AttZoom}, "sum", r"attention\.branches\.two: AttZoom changes the size of the map"),
        (
            {"one": CBAM, "two": partial(MultiHead, heads=3)},
            "sum",
            r"^attention\.branches\.two\.heads must divide the 16",
        ),
        (
            {"one": CBAM, "two": partial(CBAM, heads=3)},
            "sum",
            r"^attention\.branches\.two\.heads: CBAM has no such option",
        ),
        (
            {str(i): None for i in range(17)},
            "split",
            r"attention\.combine=split cannot part 16 channels among 17 branches",
        ),
    ],
)
def test_refusals(branches, combine, message):
    with pytest.raises(InputError, match=message) as error:
        Parallel(16, branches=branches, combine=combine)
    assert "\n" not in str(error.value)


def test_a_split_of_one_map_is_not_the_whole():
    """Each branch sees its own channels alone."""
    module, x = built("split"), features()
    changed = x.clone()
    changed[:, :6] += 1
    assert torch.equal(F.relu(module(changed)[:, 6:]), F.relu(module(x)[:, 6:]))
