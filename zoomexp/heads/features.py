"""The last features of a host as a map, whatever their layout: what its own last layer would pool."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoomexp import protocols, training_protocols
from zoomexp.backbones.headless import unread
from zoomexp.errors import InputError


def last_features(host: nn.Module, images: Tensor) -> Tensor:
    """The last features of images (B, in_chans, H, W), (B, C, h, w); of a transformer the patches alone, normed."""
    found: Tensor = cast(Any, host).forward_features(images)
    if found.dim() == 4:
        return found.permute(0, 3, 1, 2) if getattr(host, "output_fmt", "NCHW") == "NHWC" else found
    patches = found[:, getattr(host, "num_prefix_tokens", 0) :]
    rows, columns = cast(Any, host).patch_embed.grid_size
    zoom = math.isqrt(patches.shape[1] // (rows * columns))  # an inserted module may have enlarged the grid
    laid_out: Tensor = patches.mT.unflatten(2, (rows * zoom, columns * zoom))
    return laid_out


def width_of(host: nn.Module, example: Tensor) -> int:
    """The channels C of a host's last features, learnt from one forward.

    What these do not depend on, as the norm that some hosts have before their classifier, is not trained from then on:
    processes that share a run would wait for its gradient.

    Args:
        host: with timm's `forward_features`, which classifies images alone.
        example: images (1, in_chans, H, W).

    Raises:
        InputError: it gives no features, no map of them, or something else than the class of an image.
    """
    kind = type(host).__name__
    if not hasattr(host, "forward_features") or tuple(protocols.reads(host)) != ("image",):
        raise InputError(f"head: {kind} gives no last features of images (forward_features); choose another backbone")
    if training_protocols.learns_patches(host):
        raise InputError(f"head: {kind} trains further logits of its patches; choose another backbone, or head=none")
    training = host.training
    host.eval()  # batch statistics and random numbers stay untouched
    try:
        with torch.enable_grad():
            features = last_features(host, example)
            unread(host, features).requires_grad_(False)
    except (RuntimeError, AssertionError, AttributeError, ValueError, TypeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"head: the last features of {kind} are no map: {reason}") from error
    finally:
        host.train(training)
    width = features.shape[1]
    if (told := getattr(host, "num_features", width)) != width:
        raise InputError(f"head: {kind} has {told} channels, and its last features {width}: they lie in another order")
    return width
