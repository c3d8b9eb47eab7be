"""The features of a host at its stages, with the modules that were inserted into it."""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoomexp import protocols
from zoomexp.errors import InputError
from zoomexp.insertion import sites


@dataclass(frozen=True)
class Levels:
    """What a host gives.

    Attributes:
        channels: of each feature, the finest first.
        strides: input pixels per cell, as the host itself has them: a module that enlarges its map is not counted.
        indices: which of timm's intermediates these are.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    indices: tuple[int, ...]

    @property
    def is_pyramid(self) -> bool:
        """Whether the features have several sizes; a plain vision transformer's have one."""
        return len(set(self.strides)) > 1


def levels_of(host: nn.Module, example: Tensor) -> Levels:
    """The levels of a host, learnt from one forward that leaves no trace in it.

    Of a host whose stages have one size, a vision transformer, those at the quarters of its depth are taken.

    Args:
        host: built by timm, or with `forward_intermediates` and `feature_info` like timm's.
        example: images (1, C, H, W).

    Raises:
        InputError: it gives no features, cannot see these images, or cannot lay out what a module has enlarged.
    """
    if not hasattr(host, "forward_intermediates"):
        raise InputError(f"decoder: {type(host).__name__} gives no features of its stages (forward_intermediates)")
    _check_layout(host)
    strides = [site.stride for site in sites(host)]
    one_size = len(set(strides)) == 1 and len(strides) > 4
    places = [math.ceil(len(strides) * q / 4) - 1 for q in (1, 2, 3, 4)] if one_size else range(len(strides))
    indices = tuple(places)
    given = _dry_run(host, example, indices)
    return Levels(tuple(one.shape[1] for one in given), tuple(strides[place] for place in indices), indices)


def features_of(host: nn.Module, images: Tensor, levels: Levels) -> list[Tensor]:
    """The features (B, C_i, H_i, W_i) of images (B, C, H, W), the finest first; inserted modules act in them."""
    found: list[Tensor] = cast(Any, host).forward_intermediates(
        images, indices=list(levels.indices), intermediates_only=True, output_fmt="NCHW"
    )
    return found


def _check_layout(host: nn.Module) -> None:
    """Refuse what enlarges a transformer's tokens: its features are laid out on the grid that it was built for."""
    for one in protocols.inserted(host).values():
        inserted = cast(Any, one)
        if inserted.layout.kind == "tokens" and (zoom := protocols.zoom_factor(inserted.module)) != 1:
            name, kind, times = type(inserted.module).__name__, type(host).__name__, zoom**2
            raise InputError(
                f"decoder: {name} makes {times:g} times the tokens, and {kind} lays its features out on the grid of "
                "the patches; take a convolutional host or Swin, or attention.keep_size=true"
            )


def _dry_run(host: nn.Module, example: Tensor, indices: tuple[int, ...]) -> list[Tensor]:
    training, levels = host.training, Levels((), (), indices)
    host.eval()  # batch statistics and random numbers stay untouched
    try:
        with torch.no_grad():
            return features_of(host, example, levels)
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        size = " x ".join(map(str, example.shape[2:]))
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"decoder: {type(host).__name__} gives no features of {size} pixels: {reason}") from error
    finally:
        host.train(training)
