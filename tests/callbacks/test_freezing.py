"""What is trained of a network, epoch by epoch: by value, after real steps."""

from functools import partial
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from zoomexp.attention.loupe import Loupe
from zoomexp.backbones.resnet20 import resnet20
from zoomexp.callbacks.freezing import Freezing
from zoomexp.errors import InputError
from zoomexp.heads.cal import CAL
from zoomexp.model import build_model
from zoomexp.parts import block_count, part_parameters


def network(name: str = "resnet20", attention=Loupe) -> nn.Module:
    torch.manual_seed(0)
    make = resnet20 if name == "resnet20" else partial(timm.create_model, name)
    size = 160 if name != "resnet20" else 16
    return build_model(make, num_classes=3, in_chans=3, image_size=size, attention=attention, at="stage1")


def changed_by(freezing: Freezing, net: nn.Module, epoch: int = 0) -> set[str]:
    """The tensors that a step with weight decay moves in an epoch."""
    freezing.prepare(net)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1, weight_decay=0.5)
    trainer = SimpleNamespace(current_epoch=epoch, global_step=epoch, world_size=1)
    net.train()
    freezing.on_train_epoch_start(trainer, SimpleNamespace(model=net))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.randn(4, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


MODULE = {
    "inserted.layer1.module." + name for name in ("squeeze.weight", "squeeze.bias", "expand.weight", "expand.bias")
}
HEAD = {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(("part", "expected"), [("head", HEAD), ("module", MODULE), ("module_and_head", MODULE | HEAD)])
def test_nothing_else_moves_neither_by_decay_nor_in_batch_norms(part, expected):
    assert changed_by(Freezing(part), network()) == expected


def test_the_last_blocks_with_their_batch_norms():
    found = changed_by(Freezing("last_blocks", blocks=2), network())
    block = {f"layer3.{i}.{name}" for i in (1, 2) for name in network().layer3[1].state_dict()}
    assert found == MODULE | HEAD | block


def test_everything_from_an_epoch_on():
    assert changed_by(Freezing("head", all_from=2), network(), epoch=1) == HEAD
    net = network()
    found = changed_by(Freezing("head", all_from=2), net, epoch=2)
    assert found == set(net.state_dict())


class Normed(nn.Module):
    """A module with a batch norm of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(x)


def test_fixed_batch_norms_of_the_host_learn_their_scales_alone():
    net = network(attention=Normed)
    found = changed_by(Freezing("all", batch_norms="fixed"), net)
    everything = set(net.state_dict())
    statistics = {name for name in everything if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    own = {name for name in statistics if "inserted" in name}
    assert own and statistics - own
    assert found == everything - (statistics - own)


def test_what_stands_in_the_place_of_the_last_layer_learns_its_own_statistics():
    """The host's come with its weights, the head's are of none."""
    torch.manual_seed(0)
    net = build_model(resnet20, num_classes=3, in_chans=3, image_size=16, head=partial(CAL, maps=2))
    found = changed_by(Freezing("head", batch_norms="fixed"), net)
    own = {f"head.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert found == own | {"head.attend.weight", "head.fc.weight", "head.norm.weight", "head.norm.bias"}


def test_fixed_batch_norms_of_the_part_that_is_trained():
    found = changed_by(Freezing("last_blocks", blocks=2, batch_norms="fixed"), network())
    block = {f"layer3.{i}.{name}" for i in (1, 2) for name, _ in network().layer3[1].named_parameters()}
    assert found == MODULE | HEAD | block


def test_one_more_block_every_second_epoch():
    net = network()
    freezing = Freezing("head", unfreeze_every=2)
    freezing.prepare(net)
    trained = [freezing.trained(net, epoch) for epoch in range(22)]
    assert trained[0] == trained[1] == HEAD
    assert trained[2] == part_parameters(net, "last_blocks", 1) == trained[3]
    assert trained[4] == part_parameters(net, "last_blocks", 2)
    assert block_count(net) == 9 and trained[18] < trained[20] == {name for name, _ in net.named_parameters()}


@pytest.mark.parametrize(
    ("name", "first"), [("test_vit", "blocks.5."), ("test_efficientnet", "blocks."), ("test_resnet", "layer4")]
)
def test_blocks_of_timms_models(name, first):
    net = network(name)
    found = part_parameters(net, "last_blocks", 1)
    host = {name for name in found if "inserted" not in name}
    assert any(name.startswith(first) for name in host)
    behind = [name for name, _ in net.named_parameters() if "inserted" not in name]
    assert host == set(behind[-len(host) :])  # the end of the network, without a gap


class Frozen(Loupe):
    """A module with a parameter that never learns."""

    def __init__(self, channels: int, **options) -> None:
        super().__init__(channels, **options)
        self.squeeze.weight.requires_grad_(False)


def test_what_a_module_keeps_fixed_stays_fixed():
    net = network(attention=Frozen)
    assert changed_by(Freezing("module"), net) == MODULE - {"inserted.layer1.module.squeeze.weight"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "tail"}, r"train\.part='tail' must be one of all, head, module, module_and_head, last_blocks"),
        ({"part": "all", "batch_norms": "off"}, r"train\.batch_norms='off' must be one of trained, fixed"),
        ({"part": "last_blocks"}, r"train\.blocks=0 must be a whole number, at least 1"),
        ({"part": "head", "all_from": 0}, r"train\.all_from=0 must be a whole number, at least 1"),
        ({"part": "head", "all_from": 1, "unfreeze_every": 1}, r"only one of them can be given"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(InputError, match=message):
        Freezing(**options)


def test_refused_networks():
    with pytest.raises(
        InputError, match=r"train\.blocks=10 must be a whole number in 1\.\.9, the blocks of the network"
    ):
        Freezing("last_blocks", blocks=10).prepare(network())
    with pytest.raises(InputError, match=r"train=module: the network has no inserted module"):
        Freezing("module").prepare(network(attention=None))
    with pytest.raises(InputError, match=r"on one device only"):
        Freezing("head", all_from=1).setup(SimpleNamespace(world_size=2), None, "fit")
