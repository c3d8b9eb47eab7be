"""Where a module can be put into a backbone, and putting it there. The only file that touches a backbone's inside.

Sites are timm's `feature_info` rows, counted from 0. The named places count stages as the papers do:

    stem             what the first stage receives: after a pooling that follows the stem, after the position embedding
    stage1..stage4   ResNet's layer1..layer4, DenseNet's dense blocks, VGG's second to fifth block, Swin's layers.0..3;
                     in a ViT the depth in quarters (block 3, 6, 9, 12 of 12)
    last             the last site
    every_stage      all stages, without the stem
    multi_scale      stages 1 to 3
    within_blocks    in every residual block, before the sum; between_blocks: after it (see `blocks`)
    layer1.1         any other name is the dotted path of a module of the host

A module is registered on the host as `inserted.<path>` and driven by a forward hook, so no key of the host's state
dict changes, pretrained weights load, and a deep copy (EMA) carries its own modules. Inserting again adds.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoomexp import protocols
from zoomexp.blocks import PLACES, block_places
from zoomexp.errors import InputError

STAGES = ("stage1", "stage2", "stage3", "stage4")


@dataclass(frozen=True)
class Site:
    """A place for a module: its dotted path; channels and input pixels per cell, 0 where only the path is known."""

    path: str
    channels: int = 0
    stride: int = 0


@dataclass(frozen=True)
class Layout:
    """How features lie at a site: "NCHW", "NHWC" or "tokens" (then with `prefix` tokens before a rows x cols grid)."""

    kind: str
    prefix: int = 0
    grid: tuple[int, int] = (0, 0)


class Inserted(nn.Module):
    """A feature-map module together with the layout of the place it stands in, and the path of what it hooks there."""

    def __init__(self, module: nn.Module, layout: Layout, place: str) -> None:
        super().__init__()
        self.module, self.layout, self.place = module, layout, place

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to features in the host's layout and give them back in that layout."""
        if self.layout.kind == "NCHW":
            return self.module(x)
        if self.layout.kind == "NHWC":
            return self.module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
        prefix, tokens = x[:, : self.layout.prefix], x[:, self.layout.prefix :]
        rows, cols = self.layout.grid
        zoom = math.isqrt(tokens.shape[1] // (rows * cols))  # an earlier module may have enlarged the grid
        y = self.module(tokens.transpose(1, 2).unflatten(2, (rows * zoom, cols * zoom)))
        return torch.cat([prefix, y.flatten(2).transpose(1, 2)], dim=1)

    def hook(self, host: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Forward hook. A bound method, because a deep copy of the host then drives the copy's own module."""
        return self(output)


def sites(net: nn.Module) -> list[Site]:
    """The sites of a backbone, in order.

    Raises:
        InputError: If the backbone does not list its stages, or lists some that are no modules of their own.
    """
    info = getattr(net, "feature_info", None)
    if not info:
        raise InputError(f"insertion: {type(net).__name__} does not list its stages (feature_info)")
    rows = info if isinstance(info, list) else info.info
    modules = dict(net.named_modules())
    missing = [row["module"] for row in rows if row["module"] not in modules]
    if missing:
        raise InputError(f"insertion: {type(net).__name__} lists stages that are no modules ({', '.join(missing)})")
    return [Site(row["module"], row["num_chs"], row["reduction"]) for row in rows]


def insert(
    net: nn.Module,
    make: Callable[[int], nn.Module],
    at: str | int | Sequence[str | int],
    example: Tensor,
    behind: bool = False,
) -> list[str]:
    """Insert a module after each site named by `at`; what has been inserted before stays and acts.

    Args:
        net: A backbone with `feature_info`; changed in place.
        make: Builds a module for a number of channels; called once per site.
        at: A named place, a site's index (negative counts from the end), a module's path, or a list of these.
        example: One batch of images (1, C, H, W) for the dry run that learns each site's layout.
        behind: Also where a module stands, behind it (a probe).

    Returns:
        The paths of the sites that got a module, in order.

    Raises:
        InputError: If a site does not exist (the message lists those that do), a module stands there already, or the
            host cannot run with it.
    """
    places = _resolve(net, at, example)
    outputs = _outputs(net, [site.path for site in places], example)
    if not hasattr(net, "inserted"):
        net.inserted = nn.ModuleDict()
    for site in places:
        layout, channels = _layout(net, site, outputs[site.path])
        _put(net, site.path, make(channels), layout, behind)
    if any(protocols.zoom_factor(module.module) != 1 for module in protocols.inserted(net).values()):
        _allow_any_grid(net)
    _check_runs(net, example)
    return [site.path for site in places]


def _put(net: Any, path: str, module: nn.Module, layout: Layout, behind: bool) -> None:
    """Register and hook one module. The names of the host's own modules stay the same, whatever stands there."""
    host = _hooked(net.get_submodule(path))
    place = next(name for name, found in net.named_modules() if found is host)
    standing = [inserted for inserted in net.inserted.values() if inserted.place == place]
    if standing and not behind:
        there, place = type(standing[0].module).__name__, path
        raise InputError(f"insertion.at={place}: a {there} stands there already; name another place, or attention=none")
    inserted = Inserted(module, layout, place)
    net.inserted[path.replace(".", "_") + "_behind" * len(standing)] = inserted
    host.register_forward_hook(inserted.hook)


def attention_maps(net: nn.Module) -> dict[str, Tensor]:
    """The maps of the latest forward by site: tensors (B, 1, H, W) in [0, 1]; empty if no module has a map."""
    maps = {name: protocols.own_map(module.module) for name, module in protocols.inserted(net).items()}
    return {name: value for name, value in maps.items() if value is not None}


def _resolve(net: nn.Module, at: str | int | Sequence[str | int], example: Tensor) -> list[Site]:
    """Turn `at` into sites: in order of depth as written, each once."""
    known = sites(net)
    stem, stages = _stem_and_stages(known)
    several = {"last": known[-1:], "every_stage": stages, "multi_scale": stages[:3]}
    wanted = [at] if isinstance(at, str) or not isinstance(at, Sequence) else list(at)
    found: list[Site] = []
    for name in wanted:
        if isinstance(name, int) and not isinstance(name, bool) and -len(known) <= name < len(known):
            found.append(known[name])
        elif name == "stem":
            found.append(_stem(net, stem, stages[0] if stem else known[0], example))
        elif isinstance(name, str) and name in several:
            found += several[name]
        elif name in PLACES:
            found += [Site(path) for path in block_places(net, name)]
        elif name in STAGES[: len(stages)]:
            found.append(stages[STAGES.index(name)])
        elif isinstance(name, str) and name in dict(net.named_modules()):
            found.append(Site(name))
        else:
            raise InputError(f"insertion.at={at}: no site {name!r}; {_allowed(known, stages)}")
    if not found:
        raise InputError(f"insertion.at={at}: names no site; {_allowed(known, stages)}")
    return list(dict.fromkeys(found))


def _allowed(known: list[Site], stages: list[Site]) -> str:
    listed = ", ".join(f"{i}={site.path} ({site.channels} ch, stride {site.stride})" for i, site in enumerate(known))
    named = f"stem, stage1..stage{len(stages)}, last, every_stage, multi_scale, {', '.join(PLACES)}"
    return f"allowed: {named}, a module's path, or of the indices {listed}"


def _stem_and_stages(known: list[Site]) -> tuple[Site | None, list[Site]]:
    """Tell the stem's row from the stages'. Rows of one stride (a ViT) are cut into quarters of the depth."""
    if len(known) > 4 and len({site.stride for site in known}) == 1:
        return None, [known[math.ceil(len(known) * quarter / 4) - 1] for quarter in (1, 2, 3, 4)]
    has_stem = known[0].stride <= 2 and known[-1].stride >= 16
    return (known[0], known[1:5]) if has_stem else (None, known)


def _stem(net: nn.Module, stem: Site | None, first: Site, example: Tensor) -> Site:
    """The module that hands the first stage its input.

    With a stem row: that row's module, or the pooling that directly follows it. Without one: the outermost module
    whose output the first stage receives.
    """
    calls, received = _calls_before(net, first.path, example)
    if stem is not None:
        output = next(output for path, _, output in calls if path == stem.path)
        pools = [
            path
            for path, given, _ in calls
            if given is output and isinstance(net.get_submodule(path), nn.MaxPool2d | nn.AvgPool2d)
        ]
        return Site(pools[0], stem.channels, stem.stride * 2) if pools else stem
    givers = [path for path, _, output in calls if output is received]
    if not givers:
        raise InputError("insertion.at=stem: this backbone has no module of its own before its first stage")
    return Site(givers[-1], first.channels, first.stride)


def _calls_before(net: nn.Module, path: str, example: Tensor) -> tuple[list[tuple[str, Any, Any]], Any]:
    """(path, first input, output) of all modules that have finished when the one at `path` begins; and its input."""
    calls: list[tuple[str, Any, Any]] = []
    entered: list[tuple[int, Any]] = []
    watched = {name: module for name, module in net.named_modules() if name}
    hooks = [net.get_submodule(path).register_forward_pre_hook(lambda _m, args: entered.append((len(calls), args[0])))]
    hooks += [
        module.register_forward_hook(
            lambda _m, args, out, name=name: calls.append((name, args[0] if args else None, out))
        )
        for name, module in watched.items()
    ]
    _dry_run(net, example, hooks)
    finished, received = entered[0]
    return calls[:finished], received


def _outputs(net: nn.Module, paths: list[str], example: Tensor) -> dict[str, Tensor]:
    """What the modules at `paths` give out in one forward."""
    outputs: dict[str, Tensor] = {}
    hooks = [
        _hooked(net.get_submodule(path)).register_forward_hook(
            lambda _m, _a, out, path=path: outputs.update({path: out})
        )
        for path in paths
    ]
    _dry_run(net, example, hooks)
    return outputs


def _dry_run(net: nn.Module, example: Tensor, hooks: Sequence[RemovableHandle] = ()) -> None:
    """One forward that leaves no trace in the host; the hooks are removed afterwards."""
    training = net.training
    net.eval()  # batch statistics and random numbers stay untouched
    try:
        with torch.no_grad():
            net(example)
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()


def _hooked(module: nn.Module) -> nn.Module:
    """The module to hook for a site: timm skips a stage's own hooks when it checkpoints it child by child."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return module


def _layout(net: nn.Module, site: Site, output: Tensor) -> tuple[Layout, int]:
    """Read layout and channels from a site's output in the dry run."""
    if not isinstance(output, Tensor) or output.dim() not in (3, 4):
        raise InputError(f"insertion.at: {site.path} gives neither a feature map nor tokens, so no module fits there")
    if output.dim() == 3:
        return _token_layout(net, site, output), output.shape[2]
    fits = [kind for kind, axis in (("NCHW", 1), ("NHWC", 3)) if output.shape[axis] == site.channels]
    kind = fits[0] if len(fits) == 1 else getattr(net, "output_fmt", "NCHW")  # both fit: as many cells as channels
    return Layout(kind), output.shape[3 if kind == "NHWC" else 1]


def _token_layout(net: nn.Module, site: Site, output: Tensor) -> Layout:
    count, prefix = output.shape[1], getattr(net, "num_prefix_tokens", 0)
    grid = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if grid is not None and count in (math.prod(grid), math.prod(grid) + prefix):
        return Layout("tokens", count - math.prod(grid), tuple(grid))
    square = [p for p in (prefix, 0) if math.isqrt(count - p) ** 2 == count - p]
    if not square or hasattr(net, "unroll"):  # Hiera keeps its tokens in the order of its mask units
        raise InputError(
            f"insertion.at: the {count} tokens at {site.path} form no square grid, so no module fits there"
        )
    side = math.isqrt(count - square[0])
    return Layout("tokens", square[0], (side, side))


def _allow_any_grid(net: nn.Module) -> None:
    """Let windowed hosts (Swin) recompute their masks: behind a zoom their maps are larger than they were built for."""
    for module in cast(Iterable[Any], net.modules()):
        if hasattr(module, "dynamic_mask"):
            module.dynamic_mask = True


def _check_runs(net: Any, example: Tensor) -> None:
    try:
        _dry_run(net, example)
    except (RuntimeError, AssertionError, ValueError) as error:
        module = list(net.inserted.values())[-1].module
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        both = f"{type(net).__name__} cannot run with {type(module).__name__}"
        raise InputError(f"insertion.at: {both} at {list(net.inserted)}: {reason}") from error
