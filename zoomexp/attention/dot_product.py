"""Dot-product attention over positions, shared by the modules that use it; nothing here has parameters of its own.

Shapes: B images, h heads, N positions, D channels per head. With s the scale:

    P = softmax_j(s q_i . k_j)      Y_i = sum_j P_ij v_j
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import number, one_of
from zoomexp.errors import InputError


def heads_last(x: Tensor, heads: int) -> Tensor:
    """Split channels into heads: `(B, h*D, H, W) -> (B, h, N, D)`, contiguous as the fused kernels demand."""
    split: Tensor = x.flatten(2).unflatten(1, (heads, -1))
    return split.transpose(2, 3).contiguous()


def channels_first(y: Tensor, height: int, width: int) -> Tensor:
    """Undo `heads_last`: `(B, h, N, D) -> (B, h*D, H, W)`."""
    joined: Tensor = y.transpose(2, 3).flatten(1, 2).unflatten(2, (height, width))
    return joined


def fused(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Y `(B, h, N, D)` from q, k, v of the same shape, with no N x N matrix in memory.

    CUDA's memory-saving kernels want a head size that is a multiple of 8; zeros appended to q, k and v change nothing.
    """
    size = q.shape[-1]
    if q.is_cuda and size % 8:
        q, k, v = (F.pad(t, (0, -size % 8)) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=scale)[..., :size]


def explicit_weights(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """P `(B, h, N, N)`, rows summing to one: all of it in memory."""
    return torch.softmax(scale * q @ k.transpose(-2, -1), dim=-1)


def received(weights: Tensor, height: int, width: int) -> Tensor:
    """The attention each position receives, `(B, 1, H, W)`: column mean of P over heads and queries, maximum 1."""
    column = weights.mean((1, 2))
    share: Tensor = (column / column.amax(1, keepdim=True)).unflatten(1, (1, height, width))
    return share


def branch_weight(gamma: str | float, residual: bool) -> nn.Parameter | float:
    """The factor on the attention branch: a learnable scalar, or the constant that `gamma` is.

    The learnable one starts at 0 beside a residual connection, so that the module starts as the identity, and at 1
    where there is none, since 0 would output nothing at all.

    Raises:
        InputError: gamma is neither "learned" nor a finite number.
    """
    if gamma == "learned":
        return nn.Parameter(torch.tensor(0.0 if residual else 1.0))
    if isinstance(gamma, str):
        raise InputError(f"attention.gamma must be learned or a number, got {gamma!r}")
    number("attention.gamma", gamma)
    return float(gamma)


def check_start(start: str, gamma: str | float, residual: bool) -> None:
    """Refuse a start near the identity where there is none: a learned gamma beside the residual starts at 0 anyway.

    Raises:
        InputError: it is neither "paper" nor "identity", or "identity" of a branch that starts at another weight.
    """
    one_of("attention.start", start, ("paper", "identity"))
    if start == "identity" and not (residual and gamma == "learned"):
        raise InputError("attention.start=identity needs attention.gamma=learned and attention.residual=true")
