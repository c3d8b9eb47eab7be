"""What is measured of a module and of a network's output; nothing here judges."""

import torch
from torch import Tensor, nn

from zoomexp.protocols import own_map, own_opening


@torch.no_grad()
def gate_state(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The state of a module in one forward, scalars.

    Args:
        module: any module on feature maps.
        x: its input (B, C, H, W).
        y: its output (B, C, sH, sW).

    Returns:
        `weight_norm`: L2 norm of its parameters, where it has some; `gamma` and `opening` as in `resting_state`;
        `saturated`: share of its map at 1, in percent; `passed`: how much of what varies in the input varies in the
        output, the ratio of their standard deviations about each channel's mean; `change`: |y - x| / |x|, where the
        size is kept.
    """
    norms = [p.detach().float().norm() for p in module.parameters()]
    values = {"weight_norm": torch.stack(norms).norm()} if norms else {}
    values |= resting_state(module)
    if (gate := own_map(module)) is not None:
        values["saturated"] = 100 * (gate >= 1 - 1e-6).float().mean()
    values["passed"] = _variation(y) / _variation(x).clamp_min(1e-12)
    if x.shape == y.shape:
        values["change"] = (y - x).norm() / x.norm().clamp_min(1e-12)
    return values


@torch.no_grad()
def resting_state(module: nn.Module) -> dict[str, Tensor]:
    """What can be read between two forwards: `gamma`, the scalar gate, and `opening`, the gates' mean in percent."""
    values = {}
    if (gamma := getattr(module, "gamma", None)) is not None:
        values["gamma"] = torch.as_tensor(gamma, dtype=torch.float32).detach().clone()
    if (opening := own_opening(module)) is not None:
        values["opening"] = 100 * opening
    return values


def _variation(features: Tensor) -> Tensor:
    """Root mean square of (B, C, H, W) about the mean of each channel."""
    return (features - features.mean((0, 2, 3), keepdim=True)).square().mean().sqrt()


@torch.no_grad()
def output_spread(output: Tensor) -> Tensor:
    """How much a network's output (B, ...) differs from image to image: |y - mean_B y| / |y|, a scalar in [0, 1].

    >>> output_spread(torch.tensor([[3.0, 4.0], [3.0, 4.0]])), output_spread(torch.tensor([[3.0, 4.0], [-3.0, -4.0]]))
    (tensor(0.), tensor(1.))
    """
    output = output.detach().float()
    spread: Tensor = (output - output.mean(0, keepdim=True)).norm() / output.norm().clamp_min(1e-12)
    return spread
