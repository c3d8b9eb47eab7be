"""Which images stay right under attack, at which radius: the smallest that flips each of them.

An image that is right without attack counts as flipped at a radius if the attack flips it there or at a smaller one:
what lies in the smaller ball lies in the larger one, too. Images that are flipped are not attacked again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoomexp.robustness.pixels import Pixels

Attack = Callable[[Tensor, Tensor, Tensor], Tensor]  # pixels (B, C, H, W), labels (B,), radius (B,): examples


@dataclass(frozen=True)
class Survival:
    """What became of B images.

    Attributes:
        right: (B,) bool by radius: still right.
        flipped_at: (B,), the smallest radius known to flip each image; 0 where it is wrong without attack, twice the
            largest where nothing flips it.
    """

    right: dict[float, Tensor]
    flipped_at: Tensor


def survival(
    net: Pixels, pixels: Tensor, labels: Tensor, attack: Attack, radii: Sequence[float], refine: int = 0
) -> Survival:
    """Attack images at growing radii.

    Args:
        net: The network.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,).
        attack: Gives examples within the radius of each image.
        radii: In the pixels' unit.
        refine: How often the gap between the largest radius that an image survives and the smallest that flips it is
            halved, in its logarithm; from the second radius on.
    """
    alive = net.says(pixels) == labels
    known: dict[float, Tensor] = {}
    low, high = torch.zeros_like(labels, dtype=torch.float64), 2.0 * max(radii) * alive.double()
    for radius in sorted(radii):
        still = survives(net, pixels, labels, attack, torch.full_like(low, radius), alive)
        high[alive & ~still], low[still] = radius, radius
        known[radius] = alive = still
    for _ in range(refine):
        between = (low > 0) & (high <= max(radii))
        middle = (low * high).sqrt()
        still = survives(net, pixels, labels, attack, middle, between)
        low, high = torch.where(still, middle, low), torch.where(between & ~still, middle, high)
    return Survival(known, high)


def survives(net: Pixels, pixels: Tensor, labels: Tensor, attack: Attack, radius: Tensor, chosen: Tensor) -> Tensor:
    """Whether each image (B,) is among the `chosen` and stays right within its `radius`, (B,) both."""
    still = torch.zeros_like(chosen)
    if chosen.any():
        examples = attack(pixels[chosen], labels[chosen], radius[chosen].to(pixels.dtype))
        still[chosen] = net.says(examples) == labels[chosen]
    return still
