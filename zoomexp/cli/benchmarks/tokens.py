"""Token-reduction methods and ZoomViT against the plain transformer: tokens in each block, work, speed."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import yaml
from omegaconf import DictConfig
from torch import Tensor, nn

from zoomexp.cli.benchmarks.machine import pick_device, where
from zoomexp.cli.benchmarks.options import DTYPES, MODES, check_transformer, of_variants, some_of
from zoomexp.cli.benchmarks.table import show, timed
from zoomexp.cli.config_files import CONFIGS
from zoomexp.cli.script_options import whole_numbers
from zoomexp.metrics.cost import macs
from zoomexp.model import build_model
from zoomexp.run.build import make, network
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building, explain
from zoomexp.tokens.scorers.folded import fold

OPTIONS = {"methods": "all", "batch_size": "16", "rounds": "5", "depth": "12", "dtypes": "fp32,bf16", "modes": "eager"}
FILES = CONFIGS / "tokens"
ZOOMS = {  # with the Zoomer, and as many zoomed cells in every image
    "zoomvit, eta 0.5": ["tokens.eta=0.5", "tokens.budget=16"],
    "zoomvit, eta 2": ["tokens.eta=2", "tokens.budget=8"],
}


@dataclass(frozen=True)
class Method:
    """A network with its multiply-accumulates an image, and the tokens that each block sees, on average."""

    net: nn.Module
    macs: float
    tokens: list[float]


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Count and time every method on one batch, in every dtype and mode; what fails is left out, and said."""
    batch_size, rounds, depth = whole_numbers(options, "batch_size", "rounds", "depth")
    known = [*methods(), "zoomvit"]
    names = known if options["methods"] == "all" else some_of(options, "methods", known)
    dtypes, modes = some_of(options, "dtypes", list(DTYPES)), some_of(options, "modes", MODES)
    overrides, own = of_variants(overrides, known, "tokens")
    given = ["backbone=deit_s", "backbone.pretrained=false", f"++backbone.depth={depth}", "attention=none", *overrides]
    with building():
        cfg = compose_run(given).cfg
        check_transformer(cfg)
        shape = {"num_classes": 1000, "in_chans": 3, "image_size": cfg.backbone.image_size}
        plain = network(cfg, shape)
    side = shape["image_size"]
    images = torch.randn(batch_size, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = {"plain": counted(plain, images)}
    for name, choice in variants(names, own).items():
        with left_out(name):
            found[name] = counted(built(compose_run([*given, *choice]).cfg, plain, shape), images)
    title = f"{cfg.backbone.name}, {depth} blocks, {side} pixels, batch {batch_size}, {rounds} rounds"
    with torch.no_grad():
        return [
            row for mode in modes for dtype in dtypes for row in compared(found, images, dtype, mode, rounds, title)
        ]


def methods() -> list[str]:
    """The files of configs/tokens that name a method of their own, without a scorer or another file to start from."""
    read = {path.stem: yaml.safe_load(path.read_text()) or {} for path in sorted(FILES.glob("*.yaml"))}
    return [name for name, options in read.items() if "_target_" in options and not _begins_elsewhere(options)]


def _begins_elsewhere(options: dict[str, Any]) -> bool:
    """Whether a config has defaults other than those that override a group of the run's, such as its host."""
    names = [next(iter(one)) if isinstance(one, dict) else one for one in options.get("defaults", [])]
    return any(name != "_self_" and not name.startswith("override ") for name in names)


def variants(names: Sequence[str], own: dict[str, list[str]]) -> dict[str, list[str]]:
    """Overrides of each, by what it is called in the table."""
    found = {name: [f"tokens={name}", *own[name]] for name in names if name != "zoomvit"}
    untrained = ["tokens=zoomvit", "tokens.scorer.checkpoint=null"]
    zooms = {name: [*untrained, *choice, *own["zoomvit"]] for name, choice in ZOOMS.items()}
    return found | (zooms if "zoomvit" in names else {})


def built(cfg: DictConfig, plain: nn.Module, shape: dict[str, Any]) -> nn.Module:
    """A method on a copy of the plain transformer; a Zoomer's norms folded, as one runs it."""
    net = build_model(lambda **_: copy.deepcopy(plain), tokens=make(cfg.tokens), **shape)
    if (scorer := getattr(net, "scorer", None)) is not None:
        fold(scorer.zoomer)
    return net


def counted(net: nn.Module, images: Tensor) -> Method:
    """Run it once, image by image the same work as in any batch."""
    work = macs(net.eval(), images) / len(images)
    vit: Any = getattr(net, "vit", net)
    blocks = len(vit.blocks)
    full = images.new_tensor([(images.shape[-1] // vit.patch_embed.patch_size[0]) ** 2 + vit.num_prefix_tokens])
    lengths = getattr(net, "tokens_per_block", None) or [getattr(net, "lengths", full)] * blocks
    return Method(net, work, [float(one.double().mean()) for one in lengths])


def compared(
    found: dict[str, Method], images: Tensor, dtype: str, mode: str, rounds: int, title: str
) -> list[dict[str, Any]]:
    """Time all of them that run, and print the table."""
    device, calls = pick_device(), {}
    images = images.to(device, DTYPES[dtype]).contiguous(memory_format=torch.channels_last)
    torch.compiler.reset()
    for name, method in found.items():
        with left_out(f"{name} in {dtype}, {mode}"):
            net: Any = copy.deepcopy(method.net).to(device, DTYPES[dtype]).eval()
            net = torch.compile(net) if mode == "compiled" else net
            net(images)
            calls[name] = partial(net, images)
    if "plain" not in calls:
        return []
    chosen = [found[name] for name in calls]
    lines = timed(calls, [one.macs for one in chosen], len(images), rounds, device)
    extra: dict[str, Any] = {
        "GMACs": [round(one.macs / 1e9, 3) for one in chosen],
        "tokens_by_block": [one.tokens for one in chosen],
    }
    return show(f"{title}, {dtype}, {mode}, {where(device)}", lines, **extra)


@contextmanager
def left_out(name: str) -> Iterator[None]:
    """Say in one line what is wrong with one of many, and go on."""
    try:
        yield
    except Exception as error:
        print(f"{name}: left out: {explain(error)}")
