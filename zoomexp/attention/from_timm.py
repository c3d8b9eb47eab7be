"""The attention modules that come with timm, by timm's names; the other rivals of a plug-in module in one wrapper.

    a gate for each channel          se, ese, eca, ecam, ceca, ge, gc
    a gate for each position, too    cbam, lcbam, coord, scoord, ela, strip
    something added                  gca, nl, bat
    instead of a convolution         sk, splat, lambda, halo, bottleneck: no gates on x, they give features of their own

The papers are named in timm's files. What comes out is timm's own; start=identity is ours: out = x + gamma (layer(x) -
x) with a learned scalar gamma that starts at 0. Only nl needs none: its last batch norm starts at 0.

Where the maps' sides must suit: a multiple of 7 for bat and of 8 for halo (`block_size`), and bottleneck must be told
them (`feat_size`). timm 1.0 cannot build ge with its perceptron, only with use_mlp=false.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.layers import create_attn, get_attn
from torch import Tensor, nn

from zoomexp.arguments import one_of
from zoomexp.attention.spatial_map import SpatialMap
from zoomexp.errors import InputError
from zoomexp.transient import Transient

CHANNEL_GATES = ("se", "ese", "eca", "ecam", "ceca", "ge", "gc")
SPATIAL_GATES = ("cbam", "lcbam", "coord", "scoord", "ela", "strip")
OTHERS = ("gca", "nl", "bat", "sk", "splat", "lambda", "halo", "bottleneck")
NAMES = (*CHANNEL_GATES, *SPATIAL_GATES, *OTHERS)
NOT_GIVEN = {
    "device",
    "dtype",
    "stride",
    "out_channels",
    "dim_out",
    "padding",
}  # the size stays, the device is the run's
PERCEPTRON = {"rd_ratio", "rd_channels", "rd_divisor", "use_mlp"}
IDLE = {  # options that timm takes and passes over
    "eca": {"kernel_size", *PERCEPTRON},  # the kernel follows from the channels
    "ecam": {"kernel_size", "use_mlp"},
    "ceca": {"kernel_size"},
    "halo": {"feat_size"},
}


class FromTimm(SpatialMap):
    """One of timm's attention modules.

    Args:
        channels: channels C of the feature map.
        name: timm's name of it.
        start: "paper" for timm's, or "identity": what the module changes is multiplied by a scalar that starts at 0.
        options: what else timm's constructor takes.

    Shape:
        `(B, C, H, W) -> (B, C, H, W)`. `map` is the product of the gates that differ from place to place, averaged
        over channels, `(B, 1, H, W)`; of the other modules there is none. `opening` is the mean of all its gates, a
        scalar in [0, 1], None for a module without gates.

    Raises:
        InputError: a name or option that timm does not know, one that it cannot build, or a map of another size.

    >>> import torch
    >>> module = FromTimm(2, name="ese")
    >>> with torch.no_grad():
    ...     _ = module.layer.fc.weight.zero_(), module.layer.fc.bias.copy_(torch.tensor([0.0, 3.0]))
    ...     module(torch.full((1, 2, 1, 1), 8.0)).flatten()  # hard sigmoid: 1/2 and 1
    tensor([4., 8.])
    """

    default_at = "every_stage"
    zoom_factor = 1
    opening: Tensor | None = None
    transient = ("map", "opening")

    def __init__(self, channels: int, *, name: str = "se", start: str = "paper", **options: Any) -> None:
        super().__init__()
        one_of("attention.name", name, NAMES)
        one_of("attention.start", start, ("paper", "identity"))
        self.name, self.layer = name, _built(name, channels, options)
        self.gates = _watched(self.layer)
        self.gamma = nn.Parameter(torch.tensor(0.0)) if start == "identity" and name != "nl" else None

    def forward(self, x: Tensor) -> Tensor:
        """Attend to x `(B, C, H, W)`."""
        _check_size(self.name, self.layer, *x.shape[2:])
        y: Tensor = self.layer(x).to(x.dtype)  # under autocast norms give single precision
        values = [value for gate in self.gates for value in gate.taken()]
        if self.name in CHANNEL_GATES:
            self.opening = values[0].detach().float().mean()
        if self.name in SPATIAL_GATES:
            gate = values[0] * values[1] if self.name in ("coord", "ela") else values[-1]  # cbam's last
            self.map = gate.mean(1, keepdim=True)
        return y if self.gamma is None else x + self.gamma * (y - x)


class _Watched(Transient, nn.Module):
    """A gate's activation that keeps what it gave since it was last asked; no key of the layer's state changes."""

    values: tuple[Tensor, ...] = ()
    transient = ("values",)

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.activation(x)
        self.values = (*self.values, value)
        return value

    def taken(self) -> tuple[Tensor, ...]:
        values, self.values = self.values, ()
        return values


def _watched(layer: nn.Module) -> list[_Watched]:
    """Watch all gates of a layer: what timm calls so."""
    gates = []
    for module in list(layer.modules()):
        gate = getattr(module, "gate", None)
        if isinstance(gate, nn.Module):
            module.gate = watched = _Watched(gate)
            gates.append(watched)
    return gates


def _built(name: str, channels: int, options: dict[str, Any]) -> nn.Module:
    known = _options(name)
    for option in options:
        if option not in known:
            allowed = ", ".join(known) or "none"
            raise InputError(f"attention.{option}: timm's {name} has no such option here; allowed: {allowed}")
    try:
        layer: nn.Module = create_attn(name, channels, **options)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        given = "".join(f", attention.{option}={value}" for option, value in options.items())
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"attention.name={name}{given}: timm cannot build it for {channels} channels ({reason}); "
            f"it can build {', '.join(_buildable(channels))}"
        ) from error
    return layer


def _options(name: str) -> list[str]:
    """What timm's constructor takes and heeds, without what is not ours to give."""
    parameters = list(inspect.signature(get_attn(name)).parameters.values())[1:]
    named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    return [option for option in named if option not in NOT_GIVEN | IDLE.get(name, set())]


def _buildable(channels: int) -> list[str]:
    """The names that timm can build for so many channels without further options."""
    return [name for name in NAMES if _can(partial(create_attn, name, channels))]


def _can(build: Callable[[], object]) -> bool:
    try:
        build()
    except (TypeError, AssertionError, ValueError, RuntimeError):
        return False
    return True


def _check_size(name: str, layer: Any, height: int, width: int) -> None:
    """Refuse a map that timm's own assertions would stop at without a word."""
    if name == "bottleneck" and (height, width) != (layer.pos_embed.height, layer.pos_embed.width):
        raise InputError(f"attention.feat_size must be [{height},{width}], the map's size at this place")
    block = layer.block_size if name == "halo" else layer.ba.block_size if name == "bat" else 1
    if height % block or width % block:
        raise InputError(
            f"attention.name={name}: the map's sides must be multiples of attention.block_size={block}, "
            f"got {height} x {width}"
        )
