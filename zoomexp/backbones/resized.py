"""A network for images of another size than it was built for."""

from typing import Any, cast

from torch import nn

from zoomexp.errors import InputError
from zoomexp.insertion import Inserted


def resize(net: nn.Module, image_size: int) -> None:
    """Let a network take images of another size, in place; one that takes any size stays as it is.

    Positions of a transformer are resampled, as timm does (`set_input_size`).

    Args:
        net: A network of `build_model`.
        image_size: Side of the square images in pixels.

    Raises:
        InputError: It is built for one size, and timm cannot change that, or a module or token method counts on it.
    """
    size = getattr(getattr(net, "patch_embed", None), "img_size", None)
    if hasattr(net, "vit"):
        raise InputError(f"backbone.image_size={image_size}: a token method is built for one size; leave it out")
    if size is None or tuple(size) == (image_size, image_size):
        return
    if any(isinstance(module, Inserted) and module.layout.kind == "tokens" for module in net.modules()):
        raise InputError(
            f"backbone.image_size={image_size}: the inserted module counts on {size[0]} pixels; leave it out"
        )
    try:
        cast(Any, net).set_input_size(img_size=image_size)  # timm's transformers of one input size have it
    except (AttributeError, AssertionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"backbone.image_size={image_size}: {type(net).__name__} is built for {size[0]} pixels"
        ) from error
