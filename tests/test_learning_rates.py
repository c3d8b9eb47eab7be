"""Learning rates by layer: timm's own factors, the head's and the modules', in every step of a schedule."""

from functools import partial

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from zoomexp.attention.cbam import CBAM
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.learning_rates import factors
from zoomexp.model import build_model
from zoomexp.optimizer import make_optimizer
from zoomexp.scheduler import cosine, multistep
from zoomexp.tokens.dynamicvit import dynamicvit

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2, "num_classes": 5}
PLAIN = {"head_factor": 1.0, "module_factor": 1.0}


def vit(**_) -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", **VIT)


def rates(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rate that each parameter has now."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize(
    "make",
    [
        vit,
        partial(timm.create_model, "resnet18"),
        partial(timm.create_model, "swin_tiny_patch4_window7_224"),
        partial(timm.create_model, "convnext_atto"),
    ],
)
def test_the_layers_factors_are_timms(make):
    with torch.device("meta"):
        net = make()
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = param_groups_layer_decay(net, layer_decay=0.7)
    expected = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert factors(net, layer_decay=0.7, **PLAIN) == expected
    assert len(set(expected.values())) >= 5


def test_the_layers_of_resnet20():
    found = factors(ResNet20(), layer_decay=0.5, **PLAIN)
    by_layer = {
        name.rsplit(".", 2)[0] if name.startswith("layer") else name.split(".")[0]: v for name, v in found.items()
    }
    blocks = {
        f"layer{stage}.{block}": 0.5 ** (10 - 3 * (stage - 1) - block - 1) for stage in (1, 2, 3) for block in (0, 1, 2)
    }
    assert by_layer == {"conv1": 0.5**10, "bn1": 0.5**10, **blocks, "fc": 1.0}


def test_head_and_modules_have_factors_of_their_own():
    net = build_model(vit, num_classes=5, in_chans=3, image_size=32, attention=CBAM, at="stage2")
    found = factors(net, layer_decay=0.5, head_factor=10.0, module_factor=3.0)
    plain = factors(vit(), layer_decay=0.5, **PLAIN)
    modules = {name for name in found if "inserted" in name}
    assert modules and {found[name] for name in modules} == {3.0}
    assert {name: factor for name, factor in found.items() if name not in modules} == plain | {
        "head.weight": 10.0,
        "head.bias": 10.0,
    }


def test_the_host_inside_a_token_method():
    net = build_model(
        vit, num_classes=5, in_chans=3, image_size=32, tokens=partial(dynamicvit, locations=[1], distillation=0.0)
    )
    found = factors(net, layer_decay=0.5, head_factor=1.0, module_factor=3.0)
    own = {f"vit.{name}": factor for name, factor in factors(vit(), layer_decay=0.5, **PLAIN).items()}
    assert {name: factor for name, factor in found.items() if name in own} == own
    assert set(found) > set(own) and {factor for name, factor in found.items() if name not in own} == {3.0}


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("schedule", [partial(cosine, min_lr=0.01), partial(multistep, milestones=[3, 5])])
def test_schedules_keep_the_factors(schedule, warmup):
    """Each rate is its factor times that of an optimizer without factors, in every epoch."""
    net = ResNet20()
    options = {"opt": "momentum", "momentum": 0.9, "lr": 0.1, "weight_decay": 0.1, "no_decay": ["norm", "bias"]}
    scaled = make_optimizer(net, layer_decay=0.5, head_factor=4.0, **options)
    plain = make_optimizer(net, **options)
    expected = factors(net, layer_decay=0.5, head_factor=4.0, module_factor=1.0)
    schedules = [schedule(one, epochs=7, warmup_epochs=warmup) for one in (scaled, plain)]
    for _ in range(7):
        base = rates(net, plain)
        wanted = {name: factor * base[name] for name, factor in expected.items()}
        assert rates(net, scaled) == pytest.approx(wanted, rel=1e-12)
        for optimizer, one in zip((scaled, plain), schedules, strict=True):
            optimizer.step()
            one.step()


def test_decay_and_factors_go_together():
    net = ResNet20()
    optimizer = make_optimizer(net, opt="adamw", lr=0.1, weight_decay=0.3, no_decay=["norm", "bias"], layer_decay=0.5)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    found = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert set(found) == set(names.values())
    assert found == {name: 0.0 if "bn" in name or name.endswith("bias") else 0.3 for name in found}


def test_without_factors_nothing_changes():
    net = ResNet20()
    groups = make_optimizer(net, opt="adamw", lr=0.1, weight_decay=0.3, no_decay=["bias"]).param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.1] and not any("lr_scale" in group for group in groups)


def test_a_step_is_as_large_as_its_factor():
    """SGD without momentum: each parameter moves by its rate times its gradient."""
    net = vit()
    optimizer = make_optimizer(net, opt="momentum", momentum=0.0, lr=0.1, layer_decay=0.5, head_factor=2.0)
    expected = factors(net, layer_decay=0.5, head_factor=2.0, module_factor=1.0)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    net(torch.randn(2, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter, before[name] - 0.1 * expected[name] * parameter.grad)
