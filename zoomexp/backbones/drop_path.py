"""Stochastic depth at one rate in all blocks; timm's rates rise from 0 in the first block."""

from timm.layers import DropPath
from torch import nn

from zoomexp.errors import InputError

NAMES = ("drop_path", "drop_path1", "drop_path2")  # as timm's blocks call it


def level_drop_path(net: nn.Module, rate: float) -> None:
    """Give every block of a timm model the same rate, in place.

    Args:
        net: the model.
        rate: how likely a training image skips a branch, in [0, 1).

    Raises:
        InputError: a model whose blocks have no stochastic depth.
    """
    places = [(block, name) for block in net.modules() for name in NAMES
              if isinstance(getattr(block, name, None), DropPath | nn.Identity)]  # fmt: skip
    if not places:
        raise InputError(f"backbone.drop_path_ramp=false: {type(net).__name__} has no blocks with stochastic depth")
    for block, name in places:
        setattr(block, name, DropPath(rate))
