"""Optimizers: the right algorithm with the right numbers, the right parameters without decay, readable refusals."""

import pytest
import torch
from torch import nn

from zoomexp.errors import InputError
from zoomexp.insertion import insert
from zoomexp.optimizer import make_optimizer, parameter_groups


class Gate(nn.Module):
    """A module with a scalar gate, a bias of its own and a norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.norm = nn.GroupNorm(1, channels)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.gamma * self.norm(self.conv(x))


class Host(nn.Module):
    """A host with a norm, a tied weight and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.fc.weight
        self.frozen = nn.Parameter(torch.zeros(3), requires_grad=False)
        self.feature_info = [{"module": "norm", "num_chs": 4, "reduction": 1}]

    def forward(self, x):
        return self.tied(self.fc(self.norm(self.conv(x)).mean((2, 3))))


@pytest.fixture
def net():
    host = Host()
    insert(host, Gate, "stage1", torch.zeros(1, 3, 4, 4))
    return host


NORMS = {"norm.weight", "norm.bias", "inserted.norm.module.norm.weight", "inserted.norm.module.norm.bias"}
BIASES = {name for name in NORMS if name.endswith("bias")} | {"conv.bias", "fc.bias", "inserted.norm.module.conv.bias"}
GATES = {"inserted.norm.module.gamma"}
MODULE = GATES | {f"inserted.norm.module.{part}.{kind}" for part in ("conv", "norm") for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], set()),
        (["norm"], NORMS),
        (["bias"], BIASES),
        (["gate"], GATES),
        (["module"], MODULE),
        (["norm", "bias", "gate"], NORMS | BIASES | GATES),
    ],
)
def test_who_is_exempt_from_decay(net, kinds, expected):
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    everyone = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert everyone - MODULE == {"conv.weight", "conv.bias", "norm.weight", "norm.bias", "fc.weight", "fc.bias"}
    groups = parameter_groups(net, 0.1, 0.3, kinds, dict.fromkeys(names.values(), 1.0))
    found = {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in groups}
    assert found == {0.3: everyone - expected} | ({0.0: expected} if expected else {})
    assert sum(len(group["params"]) for group in groups) == len(everyone)  # the tied weight once


def stepped(opt: str, steps: int = 3, **kwargs) -> torch.Tensor:
    """A weight after some steps down the loss w^2 / 2 + 3 w, whose gradient is w + 3."""
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(2.0)
    optimizer = make_optimizer(net, opt=opt, **kwargs)
    for _ in range(steps):
        optimizer.zero_grad()
        (net.weight**2 / 2 + 3 * net.weight).sum().backward()
        optimizer.step()
    return net.weight.item()


def test_sgd_with_momentum_and_coupled_decay():
    w, velocity = 2.0, 0.0
    for _ in range(3):
        velocity = 0.9 * velocity + (w + 3 + 0.1 * w)
        w -= 0.05 * velocity
    assert stepped("momentum", lr=0.05, weight_decay=0.1, momentum=0.9) == pytest.approx(w, abs=1e-6)


def test_sgd_with_nesterov():
    w, velocity = 2.0, 0.0
    for _ in range(3):
        gradient = w + 3
        velocity = 0.9 * velocity + gradient
        w -= 0.05 * (gradient + 0.9 * velocity)
    # timm: "sgd" is Nesterov's by default, and "momentum" is not; the argument decides for both
    assert stepped("sgd", lr=0.05, momentum=0.9, nesterov=True) == pytest.approx(w, abs=1e-6)


@pytest.mark.parametrize(("opt", "coupled"), [("adam", True), ("adamw", False)])
def test_adam_and_where_its_decay_goes(opt, coupled):
    w, m, v, lr, decay = 2.0, 0.0, 0.0, 0.05, 0.1
    for t in (1, 2, 3):
        gradient = w + 3 + (decay * w if coupled else 0)
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient**2
        w -= 0 if coupled else lr * decay * w
        w -= lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)) ** 0.5 + 1e-8)
    assert stepped(opt, lr=lr, weight_decay=decay, betas=(0.9, 0.99)) == pytest.approx(w, abs=1e-5)


def test_lion():
    w, m = 2.0, 0.0
    for _ in range(3):
        gradient = w + 3
        w -= 0.05 * 0.1 * w
        update = 0.9 * m + 0.1 * gradient
        w -= 0.05 * ((update > 0) - (update < 0))
        m = 0.99 * m + 0.01 * gradient
    assert stepped("lion", lr=0.05, weight_decay=0.1, betas=(0.9, 0.99)) == pytest.approx(w, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opt": "adamx"}, r"optimizer\.opt=adamx: timm has no such optimizer; try sgd, momentum, adam"),
        ({"lr": 0}, r"optimizer\.lr=0 must be a finite number above 0"),
        ({"lr": float("nan")}, r"optimizer\.lr=nan must be a finite number above 0"),
        ({"lr": float("inf")}, r"optimizer\.lr=inf must be a finite number above 0"),
        ({"lr": "fast"}, r"optimizer\.lr='fast' must be a finite number above 0"),
        ({"weight_decay": -1e-9}, r"optimizer\.weight_decay=-1e-09 must be a finite number, at least 0"),
        (
            {"no_decay": ["norm", "gates"]},
            r"optimizer\.no_decay: unknown \['gates'\]; allowed: norm, bias, gate, module, token",
        ),
        ({"moment": 1}, r"optimizer: adam cannot be built: .*moment"),
        ({"momentum": 0.5}, r"optimizer\.momentum: adam has no such option; allowed: betas, eps"),
        (
            {"opt": "momentum", "betas": (0.9, 0.99)},
            r"optimizer\.betas: momentum has no such option; allowed: momentum",
        ),
        (
            {"filter_bias_and_bn": False},
            r"optimizer\.filter_bias_and_bn: no such option; allowed: no_decay, layer_decay",
        ),
        ({"param_group_fn": None}, r"optimizer\.param_group_fn: no such option"),
        ({"layer_decay_min_scale": 0.1}, r"optimizer\.layer_decay_min_scale: no such option"),
        ({"layer_decay": 0.5}, r"optimizer\.layer_decay=0\.5: Host lists no layers \(group_matcher\)"),
        ({"layer_decay": 1.5}, r"optimizer\.layer_decay=1\.5 must be a number in \(0, 1\], or null"),
        ({"head_factor": 0}, r"optimizer\.head_factor=0 must be a finite number above 0"),
        ({"head_factor": 2}, r"optimizer\.head_factor: Host names no classifier \(get_classifier\)"),
        ({"module_factor": "two"}, r"optimizer\.module_factor='two' must be a finite number above 0"),
        ({"betas": (1.5, 0.9)}, r"optimizer: adam cannot be built: .*beta"),
    ],
)
def test_refusals(net, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        make_optimizer(net, **({"opt": "adam", "lr": 0.1} | arguments))
    assert "\n" not in str(error.value)
