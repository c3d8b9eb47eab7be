"""Insertion and deletion curves: does the class stand or fall with the pixels that a map calls important?

"RISE: Randomized Input Sampling for Explanation of Black-box Models" (Petsiuk et al. 2018, arXiv 1806.07421), section
4.1. The map is enlarged to the image (bilinear) and its pixels are ranked. Insertion starts from a blurred image and
puts the pixels in, most important first; deletion starts from the image and replaces them by 0, the mean colour of
normalised images. After each of `steps` equal portions the softmax probability of the class is read:

    curve_s = p(class | the first s N / steps of the N pixels changed),   s = 0..steps
    area    = mean of the curve by the trapezoidal rule, in [0, 1]

High insertion and low deletion areas are good. Deviations: the blur's width grows with the image (sigma 5 at 224
pixels in the authors' code); pixels of equal importance go in raster order.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

BLUR = 5 / 224  # standard deviation as a share of the side


def insertion_curve(model: nn.Module, images: Tensor, maps: Tensor, targets: Tensor, steps: int = 28) -> Tensor:
    """Class probabilities as pixels are put into blurred images, most important first.

    Args:
        model: (B, C, H, W) to logits (B, K); as it was afterwards.
        images: (B, C, H, W), normalised as the model wants them.
        maps: (B, 1, h, w), higher is more important.
        targets: (B,) int64, the class that is watched.
        steps: At least 1: portions in which the pixels are put in.

    Returns:
        (B, steps + 1) in [0, 1].
    """
    sigma = BLUR * images.shape[-1]
    blurred = gaussian_blur(images, kernel_size=2 * max(1, round(sigma)) + 1, sigma=sigma)
    return _curve(model, blurred, images, maps, targets, steps)


def deletion_curve(model: nn.Module, images: Tensor, maps: Tensor, targets: Tensor, steps: int = 28) -> Tensor:
    """Class probabilities as pixels are replaced by 0, most important first; arguments as in `insertion_curve`."""
    return _curve(model, images, torch.zeros_like(images), maps, targets, steps)


def area(curves: Tensor) -> Tensor:
    """Area under curves (B, steps + 1) over [0, 1] by the trapezoidal rule: (B,).

    >>> area(torch.tensor([[0.0, 1.0, 1.0]]))
    tensor([0.7500])
    """
    return torch.trapezoid(curves, dim=1) / (curves.shape[1] - 1)


def _curve(model: nn.Module, start: Tensor, end: Tensor, maps: Tensor, targets: Tensor, steps: int) -> Tensor:
    """Probabilities on the way from `start` to `end`, both (B, C, H, W)."""
    rank = _ranks(maps, start.shape[2:])
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            portions = [rank < round(step * rank[0].numel() / steps) for step in range(steps + 1)]
            logits = [model(torch.where(changed, end, start)) for changed in portions]
    finally:
        model.train(training)
    return torch.stack([row.softmax(1).gather(1, targets[:, None])[:, 0] for row in logits], dim=1)


def _ranks(maps: Tensor, size: torch.Size) -> Tensor:
    """Each pixel's place in the order of importance: (B, 1, H, W) int64, 0 the most important."""
    pixels = F.interpolate(maps.float(), size=size, mode="bilinear").flatten(1)
    order = pixels.sort(dim=1, descending=True, stable=True).indices
    return order.argsort(dim=1).view(-1, 1, *size)
