"""Named tensors fitted to a network: other classes, other input channels, and what is missing or left over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

SHOWN = 3  # names in a message; the others are counted
DERIVED = ("num_batches_tracked", "relative_position_index", "relative_coords_table", "attn_mask")  # of sizes, by timm


@dataclass(frozen=True, eq=False)
class Fit:
    """How tensors fit a network.

    Args:
        values: What the network can load, by its own names.
        changed: Names of `values` whose shape was another in the file, with both shapes.
        new: The network's own that keep their start: a last layer of other classes, a norm that the file lacks.
        classes: How many classes the file's last layer has; None where the network's is not new.
        left_out: The file's that the network does not have.
        differing: What does not fit, one text each.
        wanted: How many tensors the network has.
    """

    values: dict[str, Tensor]
    changed: dict[str, tuple[torch.Size, torch.Size]]
    new: tuple[str, ...]
    classes: int | None
    left_out: tuple[str, ...]
    differing: tuple[str, ...]
    wanted: int

    def told(self) -> str:
        """What was loaded, changed, made anew and left out."""
        parts = [f"{len(self.values)} of {self.wanted} tensors loaded"]
        channels = {name: pair for name, pair in self.changed.items() if _only_channels(*pair)}
        resampled = [f"{name} {by_x(a)} -> {by_x(b)}" for name, (a, b) in self.changed.items() if name not in channels]
        parts += [f"resampled {some(resampled)}"] if resampled else []
        parts += [f"input channels {a[1]} -> {b[1]} in {name}" for name, (a, b) in channels.items()]
        old = "" if self.classes is None else f" (the file has {self.classes} classes)"
        parts += [f"new {some(self.new)}{old}"] if self.new else []
        parts += [f"left out {some(self.left_out)}"] if self.left_out else []
        return "; ".join(parts)


def fit(net: nn.Module, tensors: Mapping[str, Tensor], file_shapes: Mapping[str, torch.Size] | None = None) -> Fit:
    """Compare tensors with those of a network.

    Args:
        net: A classifier; its `num_classes`, and timm's `pretrained_cfg` where it has one, say where its last layer is.
        tensors: By the network's names.
        file_shapes: The shapes that they had in their file, before any resampling.
    """
    own, heads, convs = net.state_dict(), head_names(net), input_convs(net)
    shapes = dict(file_shapes or {})
    values, changed, new, differing, classes = {}, {}, [], [], None
    for name, wanted in own.items():
        given = tensors.get(name)
        head = name.rpartition(".")[0] in heads
        if given is None:
            if head or _neutral(name):
                new += [name] if not name.endswith("num_batches_tracked") else []
            else:
                differing.append(f"{name} is missing")
            continue
        given = _without_background(given, wanted, net) if head else given
        given = _with_channels(given, wanted) if name.rpartition(".")[0] in convs else given
        if given.shape == wanted.shape:
            values[name] = given
            if shapes.get(name, given.shape) != given.shape:
                changed[name] = (shapes[name], given.shape)
        elif head and given.shape[1:] == wanted.shape[1:]:
            new.append(name)
            classes = given.shape[0]
        else:
            differing.append(f"{name} is {by_x(given.shape)}, wanted {by_x(wanted.shape)}")
    left_out = tuple(name for name in tensors if name not in own)
    differing += [f"{name} has no place in it" for name in _within(left_out, own, heads)]
    return Fit(values, changed, tuple(new), classes, left_out, tuple(differing), len(own))


def head_names(net: nn.Module) -> set[str]:
    """The modules that give the logits: those that timm names, in whatever holds its model; else all of that width."""
    found = set()
    for path, module in net.named_modules():
        named = (getattr(module, "pretrained_cfg", None) or {}).get("classifier") or ()
        names = (named,) if isinstance(named, str) else named
        found |= {f"{path}.{name}".removeprefix(".") for name in names}
    modules = dict(net.named_modules())
    if found := found & modules.keys():
        return found
    width = getattr(net, "num_classes", None)
    return {path for path, module in modules.items() if isinstance(module, nn.Linear) and module.out_features == width}


def input_convs(net: nn.Module) -> set[str]:
    """The convolutions that see the images."""
    if named := (getattr(net, "pretrained_cfg", None) or {}).get("first_conv"):
        return {named} if isinstance(named, str) else set(named)
    return set([path for path, module in net.named_modules() if isinstance(module, nn.Conv2d)][:1])


def by_x(shape: Sequence[int]) -> str:
    """A shape as text: 64x3x7x7."""
    return "x".join(map(str, shape)) or "scalar"


def some(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _only_channels(old: torch.Size, new: torch.Size) -> bool:
    return len(old) == len(new) == 4 and old[1] != new[1] and (old[0], *old[2:]) == (new[0], *new[2:])


def _within(left_out: Sequence[str], own: Mapping[str, Tensor], heads: set[str]) -> list[str]:
    """Those of a file that belong inside modules that the network has: without them these would compute otherwise."""
    places = {".".join(name.split(".")[:depth]) for name in own for depth in range(1, name.count(".") + 1)}
    roots = {head.split(".")[0] for head in heads}
    found = []
    for name in left_out:
        parts = name.split(".")
        inside = any(".".join(parts[:depth]) in places for depth in range(1, len(parts)))
        if inside and parts[0] not in roots and parts[-1] not in DERIVED:
            found.append(name)
    return found


def _neutral(name: str) -> bool:
    """What may be missing: a batch norm's counter, which old files lack, and the norm behind an average over tokens."""
    return name.endswith("num_batches_tracked") or name.startswith("fc_norm.")


def _without_background(given: Tensor, wanted: Tensor, net: nn.Module) -> Tensor:
    """Some ImageNet weights have a class more, in front: background (timm's `label_offset`)."""
    offset = (getattr(net, "pretrained_cfg", None) or {}).get("label_offset") or 0
    return given[offset:] if offset and len(given) == len(wanted) + offset else given


def _with_channels(given: Tensor, wanted: Tensor) -> Tensor:
    """A first convolution for other input channels, as timm makes it: summed for grey, else repeated and scaled."""
    if not _only_channels(given.shape, wanted.shape):
        return given
    return adapt_input_conv(wanted.shape[1], given, base_chans=given.shape[1])
