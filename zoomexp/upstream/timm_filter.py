"""What timm does to the tensors of a file before one of its models loads them.

Each model family has a filter of its own (positions and patches are resampled, old and foreign names translated), some
models with options. timm 1.0.31 hands it from the function that makes the model to `load_pretrained` and keeps it
nowhere, so it is taken there.
"""

import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import timm
import timm.models._builder as builder
from torch import Tensor, nn

Filter = Callable[[dict[str, Tensor], Any], dict[str, Tensor]]


def create_with_filter(name: str, **options: Any) -> tuple[nn.Module, Filter]:
    """Build a timm model with random weights; also returns its filter (one that changes nothing if it has none)."""
    found: dict[str, Any] = {}
    with patch.object(builder, "load_pretrained", lambda model, **arguments: found.update(arguments)):
        net = timm.create_model(name, pretrained=True, **options)
    function: Callable[..., dict[str, Tensor]] = found.get("filter_fn") or unchanged
    if len(inspect.signature(function).parameters) == 1:  # timm has a few of these
        return net, lambda tensors, net: function(tensors)
    return net, function


def unchanged(tensors: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The filter of a model that has none."""
    return tensors
