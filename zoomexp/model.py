"""From a backbone and a module to one network; plain torch, for train.py and notebooks alike."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.models import VisionTransformer
from torch import nn

from zoomexp import protocols, training_protocols
from zoomexp.arguments import known_options
from zoomexp.backbones.start_weights import in_another_network, say_start_weights, without_classifier
from zoomexp.errors import InputError
from zoomexp.insertion import insert
from zoomexp.metrics.targets import sides


def build_model(
    backbone: Callable[..., nn.Module],
    *,
    num_classes: int,
    in_chans: int,
    image_size: int | tuple[int, int],
    attention: Callable[[int], nn.Module] | None = None,
    at: str | int | Sequence[str | int] | None = None,
    tokens: Callable[..., nn.Module] | None = None,
    detector: Callable[..., nn.Module] | None = None,
    decoder: Callable[..., nn.Module] | None = None,
    head: Callable[..., nn.Module] | None = None,
) -> nn.Module:
    """Build a classifier, put a module into it, and change how it gets its tokens, or what it says.

    Args:
        backbone: Builds the host from `num_classes` and `in_chans`.
        num_classes: Number of logits.
        in_chans: Channels of the images.
        image_size: Side of the square images in pixels, or height and width.
        attention: Builds a module from a number of channels; None for the plain host.
        at: Where (see `zoomexp.insertion`); None puts the module where its paper does (`default_at`).
        tokens: Builds the network from the host, mostly a vision transformer, and the images' side; None: as it is. Of
            a host that chooses tokens itself, as a trained ZoomViT, the transformer is taken; for a detector, too.
        detector: Builds a detector from the host, `num_classes` and `tokens`; None: the network classifies.
        decoder: Builds a segmenter from the host, `num_classes` and an `example`, images (1, C, H, W); None: likewise.
        head: Builds a classifier from the host, `num_classes` and `example`; None: the host's own last layer.

    Returns:
        A network (B, in_chans, image_size, image_size) -> logits (B, num_classes), with a detector `Detections`, with a
        decoder logits (B, num_classes, image_size, image_size), in channels_last memory format. Its
        attribute `insertion_sites` lists the module paths after which modules stand, those it came with included;
        `start_weights` is the backbone's (see `backbones.start_weights`), or None.

    Raises:
        InputError: If the host, the module and the place do not fit together, or one of the six builds nothing.
    """
    builders = {"attention": attention, "tokens": tokens, "detector": detector, "decoder": decoder, "head": head}
    _check_builders(backbone=backbone, **builders)
    net: Any = backbone(num_classes=num_classes, in_chans=in_chans)
    if tokens is None and detector is None:  # else the images are cut into patches by what makes the tokens
        _check_size(net, image_size)
    else:
        net = _without_tokens(net)
    example = torch.zeros(1, in_chans, *sides(image_size))
    if training_protocols.mixes_tokens(net) and not (tokens is None and detector is None):
        raise InputError("backbone.mix_token=true: single patches are swapped back, which takes all; tokens=uniform")
    net.insertion_sites = getattr(net, "insertion_sites", [])  # a trained network may come with modules
    if attention is not None:
        known_options("attention", attention)
        at = at if at is not None else default_place(attention)
        net.insertion_sites = [*net.insertion_sites, *insert(net, attention, at, example)]
    places, weights = net.insertion_sites, getattr(net, "start_weights", None)
    if any(builder is not None for builder in builders.values()):
        weights = in_another_network(weights)
    if head is not None:
        known_options("head", head)
        if not (tokens is None and detector is None and decoder is None):
            raise InputError("head: takes the place of a host's last layer; tokens=uniform detector=none decoder=none")
        net, weights = head(net, num_classes=num_classes, example=example), without_classifier(weights)
    elif decoder is not None:
        if tokens is not None or detector is not None:
            raise InputError("decoder: needs all patches where they are, and no detector; tokens=uniform detector=none")
        net, weights = decoder(net, num_classes=num_classes, example=example), without_classifier(weights)
    elif detector is not None:
        net = detector(net, num_classes=num_classes, image_size=image_size, tokens=tokens)
    elif tokens is not None:
        net = tokens(net, image_size=image_size)
    net.insertion_sites, net.start_weights = places, weights
    return net.to(memory_format=torch.channels_last)


def default_place(attention: Callable[[int], nn.Module]) -> str:
    """The place that a module's class names as its paper's; "last" for a module that names none."""
    return protocols.own_place(getattr(attention, "func", attention))


def _without_tokens(net: Any) -> Any:
    """The transformer of a trained network that chose its tokens, for others; any other network as it is."""
    inner = getattr(net, "vit", None)
    if not isinstance(inner, VisionTransformer):
        return net
    say_start_weights(inner, getattr(net, "start_weights", None))
    return inner


def _check_builders(**builders: object) -> None:
    """Refuse what is a network already: it could neither be fitted to classes and channels nor be built twice."""
    for name, builder in builders.items():
        if isinstance(builder, nn.Module) or not (builder is None or callable(builder)):
            got = f"the network {type(builder).__name__}" if isinstance(builder, nn.Module) else repr(builder)
            allowed = "a class or function that builds one, such as functools.partial(make, name=...)"
            raise InputError(f"{name}: must be {allowed}, got {got}")


def _check_size(net: nn.Module, image_size: int | tuple[int, int]) -> None:
    """Refuse a transformer that is built for images of another size, or of none; in a run it would do so itself."""
    embed: Any = getattr(net, "patch_embed", None)
    size = embed.img_size if getattr(embed, "strict_img_size", False) else None
    if size and 0 in embed.grid_size:
        raise InputError(f"backbone.image_size={size[0]} must be at least {embed.patch_size[0]}, a patch's side")
    if size and tuple(size) != sides(image_size):
        raise InputError(f"dataset.image_size={image_size} must be backbone.image_size={size[0]}, as it is by default")
