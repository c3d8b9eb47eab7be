"""One training step in several forms, against single precision in NCHW: dtype, memory layout, eager and compiled."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.cli.benchmarks.machine import pick_device, where
from zoomexp.cli.benchmarks.model import untrained, wanted_shape
from zoomexp.cli.benchmarks.options import some_of
from zoomexp.cli.benchmarks.table import show, timed
from zoomexp.cli.script_options import whole_numbers
from zoomexp.metrics.cost import macs
from zoomexp.run.build import compile_network, make
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building

OPTIONS = {"batch_size": "128", "rounds": "7", "forms": "fp32,bf16,bf16-compiled", "shape": ""}
NCHW = "fp32-nchw"
FORMS: dict[str, tuple[bool, bool, bool | str]] = {  # autocast, channels last, `compile` as train.py takes it
    NCHW: (False, False, False),
    "fp32": (False, True, False),
    "fp32-compiled": (False, True, True),
    "bf16-nchw": (True, False, False),
    "bf16": (True, True, False),
    "bf16-compiled": (True, True, True),
    "bf16-graphs": (True, True, "reduce-overhead"),
}


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Time every form of the config's network with its optimizer on one batch of random images."""
    batch_size, rounds = whole_numbers(options, "batch_size", "rounds")
    names = [NCHW, *(name for name in some_of(options, "forms", list(FORMS)) if name != NCHW)]
    with building():
        cfg = compose_run(overrides).cfg
        shape = wanted_shape(options["shape"], cfg.dataset)
        net, optimizer = untrained(cfg, shape).train(), make(cfg.optimizer)
    device, side = pick_device(), shape["image_size"]
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, shape["in_chans"], side, side, generator=draw)
    labels = torch.randint(shape["num_classes"], (batch_size,), generator=draw).to(device)
    torch.compiler.reset()
    steps = {name: stepper(net, optimizer, images.to(device), labels, *FORMS[name]) for name in names}
    counts = [macs(net, images[:1])] * len(names)
    title = f"training step of {cfg.backbone.name}, {side} pixels, batch {batch_size}, {rounds} rounds, {where(device)}"
    return show(title, timed(steps, counts, batch_size, rounds, device, least=0.5))


def stepper(
    net: nn.Module,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    images: Tensor,
    labels: Tensor,
    autocast: bool,
    channels_last: bool,
    compiled: bool | str,
) -> Callable[[], None]:
    """A training step with a network and an optimizer of its own."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = cast(Any, copy.deepcopy(net).to(images.device)).to(memory_format=layout)
    compile_network(net, compiled)
    return partial(training_step, net, make_optimizer(net), images.contiguous(memory_format=layout), labels, autocast)


def training_step(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, autocast: bool
) -> None:
    """Forward, cross entropy, backward, update."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
        loss = F.cross_entropy(net(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
