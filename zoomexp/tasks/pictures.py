"""Maps drawn over the images they are of."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoomexp.analysis.overlay import enlarged, heat_over
from zoomexp.analysis.viewed import to_look_at


def drawn_maps(
    maps: Mapping[str, Tensor], images: Tensor, mean: Sequence[float], std: Sequence[float]
) -> dict[str, Tensor]:
    """Each map as heat over its image.

    Args:
        maps: (B, 1, h, w) each, by name; those of the first images are drawn.
        images: (n, C, H, W), normalised by `mean` and `std`.
        mean: per channel.
        std: per channel.

    Returns:
        `maps/<name>`: (n, 3, H', W') in [0, 1], small images enlarged.
    """
    if not maps:
        return {}
    pictures = [enlarged(to_look_at(image, mean, std)) for image in images.detach().float().cpu()]
    found = {}
    for name, values in maps.items():
        heats = values[: len(images)].detach().float().cpu()
        drawn = [heat_over(picture, heat[0]) for picture, heat in zip(pictures, heats, strict=True)]
        found[f"maps/{name}"] = torch.stack(drawn)
    return found
