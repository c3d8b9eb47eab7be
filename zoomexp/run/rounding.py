"""Another processor's rounding, without another processor."""

import torch
from torch import nn

from zoomexp.arguments import integer

SIZE = 1e-6  # of a weight: some ten roundings of single precision


def perturb(net: nn.Module, draw: int | None) -> None:
    """Multiply each weight by 1 + 1e-6 z, z standard normal: what is sure to be learned does not notice.

    Processors differ in how they round sums, and training carries a rounding on until the weights of two runs have
    nothing in common. A result that holds for several draws does not hang on the machine it was measured on.

    Args:
        net: Its parameters change in place.
        draw: Which of the draws, at least 0; None: none, the weights stay as they are.

    Raises:
        InputError: For a draw that is no whole number.
    """
    if draw is None:
        return
    integer("rounding", draw, 0)
    generator = torch.Generator().manual_seed(draw)
    with torch.no_grad():
        for weight in net.parameters():
            if weight.is_floating_point():
                factors = 1 + SIZE * torch.randn(weight.shape, generator=generator)
                weight.mul_(factors.to(weight))
