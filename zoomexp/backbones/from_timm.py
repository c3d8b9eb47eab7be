"""Any timm backbone, with the errors of a mistyped name or an unreachable download said in one line."""

import difflib
from typing import Any

import timm
from torch import nn

from zoomexp.arguments import boolean
from zoomexp.backbones.drop_path import level_drop_path
from zoomexp.backbones.start_weights import StartWeights
from zoomexp.errors import InputError

SHAPE = ("num_classes", "in_chans", "img_size")  # what the data and the config's image_size say


def from_timm(
    name: str,
    pretrained: bool = False,
    image_size: int | None = None,
    drop_path_ramp: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """Build the timm model `name`; of pretrained weights its attribute `start_weights` says which they are.

    Args:
        name: A timm model name, with or without a weights tag ("swin_base_patch4_window7_224.ms_in22k").
        pretrained: Load timm's weights (downloaded once, then cached by timm).
        image_size: Side of the square input in pixels; a model that is built for one size is built for this one.
            None only for size-free models.
        drop_path_ramp: Whether `drop_path_rate` is that of the last block and the others' rise to it from 0, as is
            usual; False: all blocks have it, as in DeiT III's code.
        kwargs: `num_classes`, `in_chans`, and whatever else the model's timm constructor takes.

    Raises:
        InputError: For an unknown name, unsuitable arguments or weights that cannot be had.
    """
    if not isinstance(name, str) or not timm.is_model(name):
        near = difflib.get_close_matches(str(name).split(".")[0], timm.list_models(), n=4)
        raise InputError(f"backbone.name={name}: timm has no such model; near: {', '.join(near) or 'none'}")
    boolean("backbone.pretrained", pretrained)
    boolean("backbone.drop_path_ramp", drop_path_ramp)
    default = timm.get_pretrained_cfg(name)
    fixed = default is not None and default.fixed_input_size
    if fixed and image_size is None:
        raise InputError(
            f"backbone.image_size: {name} is built for one input size, so it must be a number of pixels, "
            f"for example {default.input_size[-1]}"
        )
    if fixed:
        kwargs["img_size"] = image_size
    net = _created(name, pretrained, kwargs)
    if not drop_path_ramp:
        level_drop_path(net, kwargs.get("drop_path_rate", 0.0))
    if pretrained:
        weights = net.pretrained_cfg
        source = ".".join(part for part in (weights["architecture"], weights["tag"]) if part)
        net.start_weights = StartWeights(f"timm/{source}", weights["num_classes"] == net.num_classes)
    return net


def _created(name: str, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **kwargs)
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
