"""Attention modules on a backbone against the plain backbone: work, speed and memory, from image to logits."""

import copy
from functools import partial
from typing import Any

import torch
from torch import nn

from zoomexp.cli.benchmarks.footprint import footprints
from zoomexp.cli.benchmarks.machine import pick_device, where
from zoomexp.cli.benchmarks.options import DTYPES, MODES, of_variants, some_of, wholes
from zoomexp.cli.benchmarks.table import show, timed
from zoomexp.cli.config_files import CONFIGS
from zoomexp.cli.script_options import whole_numbers
from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs, parameters
from zoomexp.run.build import make, network
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building
from zoomexp.run.prepare import shape_of

OPTIONS = {"attention": "none,loupe,cbam", "batch_sizes": "1,32,128", "dtypes": "fp32", "modes": "eager",
           "rounds": "5", "shape": ""}  # fmt: skip
KNOWN = sorted(path.stem for path in (CONFIGS / "attention").glob("*.yaml"))
STRETCH = 0.1  # seconds; a small network on one image takes milliseconds


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """One table for every mode, dtype and batch size; the plain backbone comes first."""
    (rounds,), batch_sizes = whole_numbers(options, "rounds"), wholes(options, "batch_sizes")
    dtypes, modes = some_of(options, "dtypes", list(DTYPES)), some_of(options, "modes", MODES)
    names = ["none", *(name for name in some_of(options, "attention", KNOWN) if name != "none")]
    everywhere, own = of_variants(overrides, names, "attention")
    with building():
        cfgs = {name: compose_run([*everywhere, f"attention={name}", *own[name]]).cfg for name in names}
        cfg = cfgs["none"]
        shape = wanted_shape(options["shape"], cfg.dataset)
        nets = {name: untrained(cfg, shape) for name, cfg in cfgs.items()}
    rows = []
    for mode in modes:
        for dtype in dtypes:
            for batch in batch_sizes:
                title = f"{cfg.backbone.name}, {shape['image_size']} pixels, batch {batch}, {dtype}, {mode}"
                rows += compared(nets, shape, batch, dtype, mode, rounds, title)
    return rows


def wanted_shape(text: str, dataset: Any) -> dict[str, int]:
    """The shape that the option says, or else that of the data."""
    return given_shape(text) if text else shape_of_data(dataset)


def given_shape(text: str) -> dict[str, int]:
    """The shape that the option of this name says.

    Raises:
        InputError: If it is not three numbers.
    """
    found = text.split(",")
    if len(found) != 3 or not all(one.isdigit() and int(one) >= 1 for one in found):
        raise InputError(f"shape={text} must be channels, side and classes, for example 3,224,1000")
    return dict(zip(("in_chans", "image_size", "num_classes"), map(int, found), strict=True))


def shape_of_data(dataset: Any) -> dict[str, int]:
    """What a data set needs of its network."""
    data = make(dataset)
    data.prepare_data()
    data.setup("fit")
    return shape_of(data)


def untrained(cfg: Any, shape: dict[str, int]) -> nn.Module:
    """The network of a config with random weights: nothing is downloaded."""
    if "pretrained" in cfg.backbone:
        cfg.backbone.pretrained = False
    return network(cfg, shape).eval()


def compared(
    nets: dict[str, nn.Module], shape: dict[str, int], batch: int, dtype: str, mode: str, rounds: int, title: str
) -> list[dict[str, Any]]:
    """Time, count and weigh the networks, and print the table."""
    device = pick_device()
    side = shape["image_size"]
    images = torch.randn(batch, shape["in_chans"], side, side).contiguous(memory_format=torch.channels_last).to(device)
    counts = [macs(net, torch.zeros(1, *images.shape[1:])) for net in nets.values()]
    torch.compiler.reset()
    calls = {}
    for name, net in nets.items():
        net = copy.deepcopy(net).to(device, DTYPES[dtype])
        calls[name] = partial(torch.compile(net) if mode == "compiled" else net, images.to(DTYPES[dtype]))
    with torch.no_grad():
        lines = timed(calls, counts, batch, rounds, device, STRETCH)
    extra: dict[str, Any] = {
        "parameters": [parameters(net)["params"] for net in nets.values()],
        "MMACs": [round(count / 1e6, 2) for count in counts],
    }
    if mode == "eager":
        extra |= footprints(list(nets.values()), images, DTYPES[dtype])
    return show(f"{title}, {rounds} rounds, {where(device)}", lines, **extra)
