"""Any timm backbone, with the errors of a mistyped name or an unreachable download said in one line."""

import difflib
from typing import Any

import timm
from torch import nn

from zoomexp.arguments import boolean
from zoomexp.backbones.drop_path import level_drop_path
from zoomexp.backbones.start_positions import start_positions
from zoomexp.backbones.start_weights import StartWeights, say_start_weights
from zoomexp.errors import InputError
from zoomexp.upstream.timm_filter import create_with_filter
from zoomexp.weights.starting import start_from

SHAPE = ("num_classes", "in_chans", "img_size")  # what the data and the config's image_size say


def from_timm(
    name: str,
    pretrained: bool = False,
    image_size: int | None = None,
    weights: str | None = None,
    checkpointing: bool = False,
    drop_path_ramp: bool = True,
    position_start: str = "random",
    **kwargs: Any,
) -> nn.Module:
    """Build the timm model `name`; its attribute `start_weights` says which weights it starts from, if any.

    Args:
        name: A timm model name, with or without a weights tag ("swin_base_patch4_window7_224.ms_in22k").
        pretrained: Load timm's weights (downloaded once, then cached by timm).
        image_size: Side of the square input in pixels; a model that is built for one size is built for this one.
            None only for size-free models.
        weights: A file, a folder or `hf-hub:owner/model` whose weights the model starts from, in the place of timm's
            (see `zoomexp.weights`); positions and patches are resampled as timm does.
        checkpointing: Recompute activations in the backward pass instead of keeping them: less memory, more time.
        drop_path_ramp: Whether `drop_path_rate` is that of the last block and the others' rise to it from 0, as is
            usual; False: all blocks have it, as in DeiT III's code.
        position_start: Where the learned positions of a vision transformer begin that starts from nothing: "random", as
            timm has it, or "sinusoid_2d" (see `zoomexp.backbones.start_positions`).
        kwargs: `num_classes`, `in_chans`, and whatever else the model's timm constructor takes.

    Raises:
        InputError: For an unknown name, unsuitable arguments or weights that cannot be had.
    """
    if not isinstance(name, str) or not timm.is_model(name):
        near = difflib.get_close_matches(str(name).split(".")[0], timm.list_models(), n=4)
        raise InputError(f"backbone.name={name}: timm has no such model; near: {', '.join(near) or 'none'}")
    boolean("backbone.pretrained", pretrained)
    boolean("backbone.checkpointing", checkpointing)
    boolean("backbone.drop_path_ramp", drop_path_ramp)
    default = timm.get_pretrained_cfg(name)
    fixed = default is not None and default.fixed_input_size
    if default is not None and fixed and image_size is None:
        raise InputError(
            f"backbone.image_size: {name} is built for one input size, so it must be a number of pixels, "
            f"for example {default.input_size[-1]}"
        )
    if fixed:
        kwargs["img_size"] = image_size
    net = _created(name, pretrained and weights is None, weights, kwargs)
    if not drop_path_ramp:
        level_drop_path(net, kwargs.get("drop_path_rate", 0.0))
    start_positions(net, position_start)
    if checkpointing:
        _checkpoint(net, name)
    return net


def _said(net: Any) -> nn.Module:
    """Have a network of timm's weights say which they are; each of timm's has `pretrained_cfg` and `num_classes`."""
    weights = net.pretrained_cfg
    source = ".".join(part for part in (weights["architecture"], weights["tag"]) if part)
    network: nn.Module = net
    say_start_weights(network, StartWeights(f"timm/{source}", weights["num_classes"] == net.num_classes))
    return network


def _checkpoint(net: Any, name: str) -> None:
    try:
        net.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        raise InputError(
            f"backbone.checkpointing=true: timm cannot do so with {name}; only false is possible"
        ) from error


def _created(name: str, pretrained: bool, weights: str | None, kwargs: dict[str, Any]) -> nn.Module:
    try:
        if weights is None:
            net = timm.create_model(name, pretrained=pretrained, **kwargs)
            return _said(net) if pretrained else net
        net, filter_fn = create_with_filter(name, **kwargs)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"backbone.pretrained=true: the weights of {name} cannot be loaded here ({reason}); "
            "use backbone.pretrained=false to train from scratch"
        ) from error
    except (TypeError, AssertionError, ValueError, LookupError, ArithmeticError) as error:
        if "unexpected keyword" in str(error):
            raise
        given = ", ".join(f"backbone.{option}={value}" for option, value in kwargs.items() if option not in SHAPE)
        raise InputError(f"backbone: timm cannot build {name} with {given or 'these options'}") from error
    start_from(net, weights, filter_fn)
    return net
