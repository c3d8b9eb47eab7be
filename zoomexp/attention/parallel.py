"""Parallel: several modules side by side on one feature map, the question that "CNNtention" (arXiv 2412.11657) leaves.

Branches A_1 .. A_n are modules that keep the size of the map:

    concat   out = W * [A_1(x); ...; A_n(x)] + b         1 x 1 convolution n C -> C (as Inception joins its branches)
    split    out = [A_1(x_1); ...; A_n(x_n)]             x_i: the i-th C / n channels, the rest to the first
    sum      out = A_1(x) + ... + A_n(x)
    mean     out = (A_1(x) + ... + A_n(x)) / n
    gated    out = sum_i softmax(w)_i A_i(x)             n learned numbers
    series   out = A_n(... A_1(x))                       the control

W starts as [I / n ... I / n] and b and w at 0, so that concat and gated start as the mean. A branch without a module is
the identity; concat of two of those is the control with the same 1 x 1 convolution and no attention. Branches with
residual connections of their own each bring x along: sum has it n times.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from zoomexp import protocols
from zoomexp.arguments import known_options, one_of
from zoomexp.attention.spatial_map import SpatialMap
from zoomexp.errors import InputError

KINDS = ("concat", "split", "sum", "mean", "gated", "series")


class Parallel(SpatialMap):
    """Several modules side by side, or one after the other.

    Args:
        channels: channels C of the feature map.
        branches: by a name of one's choice, what builds a module from a number of channels; empty: the identity.
        combine: "concat", "split", "sum", "mean", "gated" or "series".

    Shape:
        `(B, C, H, W) -> (B, C, H, W)`. `map` is the mean of the branches' maps, `(B, 1, H, W)`, of those that have one.

    Raises:
        InputError: fewer than two branches, one that changes the map's size or has no such option, or more shares than
            channels.

    >>> import torch
    >>> module = Parallel(2, branches={"one": None, "two": lambda channels: nn.ReLU()})
    >>> module(torch.tensor([-4.0, 4.0]).view(1, 2, 1, 1)).flatten().tolist()  # the mean of x and max(x, 0)
    [-2.0, 4.0]
    """

    default_at = "every_stage"
    zoom_factor = 1

    def __init__(
        self, channels: int, *, branches: Mapping[str, Callable[[int], nn.Module] | None], combine: str = "concat"
    ) -> None:
        super().__init__()
        one_of("attention.combine", combine, KINDS)
        count = len(branches)
        if count < 2:
            raise InputError(f"attention.branches must be at least two modules, each by a name, got {count}")
        if combine == "split" and channels < count:
            raise InputError(f"attention.combine=split cannot part {channels} channels among {count} branches")
        share = channels // count
        self.shares = [channels - (count - 1) * share, *[share] * (count - 1)] if combine == "split" else None
        widths = self.shares or [channels] * count
        self.branches = nn.ModuleDict(
            {name: _branch(name, make, width) for (name, make), width in zip(branches.items(), widths, strict=True)}
        )
        self.combine = combine
        self.join = _mean_of(count, channels) if combine == "concat" else None
        self.weights = nn.Parameter(torch.zeros(count)) if combine == "gated" else None

    def forward(self, x: Tensor) -> Tensor:
        """Attend to x `(B, C, H, W)`."""
        y = self._series(x) if self.combine == "series" else self._joined(x)
        found = [protocols.own_map(branch) for branch in self.branches.values()]
        maps = [each for each in found if each is not None]
        self.map = torch.stack(maps).mean(0) if maps else None
        return y

    def _series(self, x: Tensor) -> Tensor:
        for branch in self.branches.values():
            x = branch(x)
        return x

    def _joined(self, x: Tensor) -> Tensor:
        given = x.split(self.shares, 1) if self.shares else [x] * len(self.branches)
        outputs = [branch(part) for branch, part in zip(self.branches.values(), given, strict=True)]
        if self.combine in ("concat", "split"):
            together = torch.cat(outputs, 1)
            return together if self.join is None else self.join(together)
        if self.weights is not None:
            shares = torch.softmax(self.weights, 0)
            weighted: Tensor = sum(share * output for share, output in zip(shares, outputs, strict=True))
            return weighted
        total: Tensor = sum(outputs)
        return total / len(outputs) if self.combine == "mean" else total


def _branch(name: str, make: Callable[[int], nn.Module] | None, channels: int) -> nn.Module:
    field = f"attention.branches.{name}"
    if not make:
        return nn.Identity()
    known_options(field, make)
    try:
        branch = make(channels)
    except InputError as error:
        raise InputError(str(error).replace("attention", field, 1)) from error
    if protocols.zoom_factor(branch) != 1:
        raise InputError(f"{field}: {type(branch).__name__} changes the size of the map, and others stand beside it")
    return branch


def _mean_of(count: int, channels: int) -> nn.Conv2d:
    """The 1 x 1 convolution that starts as the mean of so many maps."""
    join = nn.Conv2d(count * channels, channels, 1)
    assert join.bias is not None
    with torch.no_grad():
        join.weight.copy_((torch.eye(channels) / count).repeat(1, count)[:, :, None, None])
        join.bias.zero_()
    return join
