"""Which parameters belong to which part of a network: its head, its inserted modules, its last blocks."""

import math
from typing import Any, cast

from timm.models import group_parameters
from torch import nn

from zoomexp.errors import InputError
from zoomexp.learning_rates import host_of
from zoomexp.protocols import replaces_head
from zoomexp.weights.fitting import head_names

PARTS = ("all", "head", "module", "module_and_head", "last_blocks")


def part_parameters(net: nn.Module, part: str, blocks: int = 0) -> set[str]:
    """The names of the parameters that belong to a part.

    Args:
        net: A network of `build_model`.
        part: One of PARTS. "head" is the last layer, or all that stands in its place (a decoder). "module" is every
            inserted module and what a token method brings along; "last_blocks" the head, the modules and what
            lies behind the last `blocks` blocks' beginning.
        blocks: Residual blocks, a transformer's blocks, a VGG's layers: what timm counts as a layer for layer-wise
            learning rates.

    Raises:
        InputError: The network has no such part.
    """
    names = [name for name, _ in net.named_parameters()]
    head = {name for name in names if name.rpartition(".")[0] in head_names(net)}
    module = {name for name in names if "inserted" in name.split(".") or not name.startswith(host_of(net)[0])}
    if replaces_head(net):  # all of it is new, not its last layer alone
        head, module = module - inside(module), inside(module)
    if part == "module" and not module:
        raise InputError("train=module: the network has no inserted module; choose an attention or tokens")
    if part in ("head", "module_and_head", "last_blocks") and not head:
        raise InputError(f"train={part}: {type(net).__name__} has no last layer of its own")
    behind = _behind(net, blocks) if part == "last_blocks" else set()
    known = {"all": set(names), "head": head, "module": module, "module_and_head": module | head}
    return known.get(part, head | module | behind)


def inside(names: set[str]) -> set[str]:
    """The names that lie in inserted modules."""
    return {name for name in names if "inserted" in name.split(".")}


def block_count(net: nn.Module) -> int:
    """How many blocks `part_parameters` can tell apart."""
    return max(_layers(net).values()) - 1


def _behind(net: nn.Module, blocks: int) -> set[str]:
    layers = _layers(net)
    last = max(layers.values())
    if not 1 <= blocks <= last - 1:
        raise InputError(f"train.blocks={blocks} must be a whole number in 1..{last - 1}, the blocks of the network")
    return {name for name, layer in layers.items() if layer >= last - blocks}


def _layers(net: nn.Module) -> dict[str, int]:
    """Each parameter's layer, counted from the stem, 0; the last one holds the head, and norms before it."""
    prefix, host = host_of(net)
    if not hasattr(host, "group_matcher"):
        raise InputError(f"train: {type(host).__name__} does not say what its blocks are (group_matcher)")
    found = group_parameters(host, cast(Any, host).group_matcher(coarse=False), reverse=True)
    last = max(layer for layer in found.values() if layer < math.inf)
    layers = {f"{prefix}{name}": last if "inserted" in name.split(".") else layer for name, layer in found.items()}
    return {name: layers.get(name, last) for name, _ in net.named_parameters()}
