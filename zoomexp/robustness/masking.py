"""Is an attack's failure the network's strength, or are its gradients of no use? Other ways to the same ball.

A gate whose gradient is 0, a saturated sigmoid or a threshold, can keep gradient ascent from examples that are there
(gradient masking; Athalye et al. 2018, arXiv 1802.00420; Carlini et al. 2019, arXiv 1902.06705). Each check attacks the
images that PGD left right; what it flips, PGD has missed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zoomexp.attention.spatial_map import SpatialMask
from zoomexp.robustness.attacks import fgsm, pgd, square
from zoomexp.robustness.pixels import Pixels
from zoomexp.robustness.survival import Attack, survives


def checks(net: Pixels, steps: int, long_steps: int, queries: int, other: Pixels | None) -> dict[str, Attack]:
    """The attacks by name.

    Args:
        net: The network.
        steps: Of PGD.
        long_steps: Of a longer PGD; 0: none.
        queries: Of Square; 0: none.
        other: A network whose examples are tried on this one; None: none.

    Returns:
        `fgsm`; `pgd<long_steps>`; `frozen`, PGD with the masks held at what they are without attack, where there are
        masks; `transfer`, PGD on the other network; `square`, without gradients.
    """
    found: dict[str, Attack] = {"fgsm": lambda pixels, labels, radius: fgsm(net, pixels, labels, radius)}
    if long_steps:
        found[f"pgd{long_steps}"] = lambda pixels, labels, radius: pgd(net, pixels, labels, radius, long_steps, 1)
    if masks_of(net):
        found["frozen"] = lambda pixels, labels, radius: through_held_masks(net, pixels, labels, radius, steps)
    if other is not None:
        found["transfer"] = lambda pixels, labels, radius: pgd(other, pixels, labels, radius, steps)
    if queries:
        found["square"] = lambda pixels, labels, radius: square(net, pixels, labels, float(radius[0]), queries)
    return found


def missed(
    net: Pixels, pixels: Tensor, labels: Tensor, radius: float, right: Tensor, tried: dict[str, Attack]
) -> dict[str, Tensor]:
    """Which of the images that PGD leaves right, (B,) bool, each check flips: (B,) bool by name."""
    at = torch.full(right.shape, radius, dtype=torch.float64, device=right.device)
    return {name: right & ~survives(net, pixels, labels, attack, at, right) for name, attack in tried.items()}


def masks_of(net: nn.Module) -> list[SpatialMask]:
    """The modules in a network that multiply by a mask."""
    return [module for module in net.modules() if isinstance(module, SpatialMask)]


@contextmanager
def held_masks(net: nn.Module, pixels: Tensor) -> Iterator[None]:
    """The masks stay what they are on these images (B, C, H, W), whatever the network is shown (B of them)."""
    with torch.no_grad():
        net(pixels)
    masks = masks_of(net)
    for module in masks:
        module.held = None if module.map is None else module.map.detach()
    try:
        yield
    finally:
        for module in masks:
            module.held = None


def through_held_masks(net: Pixels, pixels: Tensor, labels: Tensor, radius: Tensor, steps: int) -> Tensor:
    """PGD's examples (B, C, H, W) on the network whose masks do not move with the image."""
    with held_masks(net, pixels):
        return pgd(net, pixels, labels, radius, steps)
