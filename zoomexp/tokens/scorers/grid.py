"""What scorers share: the grid they score, maps brought to it, and how one is built.

A scorer is a module (images (B, C, H, H), maps) -> scores (B, S, S) in [0, 1] without gradient, S = image_size /
patch_size. `maps`, precomputed ones, are None except where the class says `needs_maps = True`.
"""

import inspect
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import integer, multiple_of


def patches_per_side(image_size: int, patch_size: int) -> int:
    """S.

    Raises:
        InputError: a side that is no multiple of the patch.
    """
    integer("tokens.scorer.patch_size", patch_size)
    multiple_of("tokens.scorer.image_size", image_size, patch_size)
    return image_size // patch_size


def resized(maps: Tensor, side: int) -> Tensor:
    """Maps (B, S', S') as (B, side, side), bilinear, then in single precision; in [0, 1] if they were."""
    if maps.shape[-1] == side:
        return maps
    maps = maps[:, None].float()  # antialiasing knows no bf16 on a CPU
    return F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False, antialias=True)[:, 0]


def grey(images: Tensor) -> Tensor:
    """The mean of the channels, (B, C, H, W) to (B, H, W), each image to [0, 1] by its own darkest and lightest."""
    mean = images.float().mean(1)
    low, high = mean.amin((1, 2), keepdim=True), mean.amax((1, 2), keepdim=True)
    return (mean - low) / (high - low).clamp(min=1e-12)


def built(scorer: nn.Module | Callable[..., nn.Module], **facts: int) -> nn.Module:
    """A scorer as it is, or from what builds it, given those of the facts that its constructor knows.

    Args:
        scorer: the module, or a constructor.
        facts: `image_size`, `patch_size`, `in_chans`.
    """
    if isinstance(scorer, nn.Module):
        return scorer
    known = inspect.signature(scorer).parameters
    return scorer(**{name: value for name, value in facts.items() if name in known})
