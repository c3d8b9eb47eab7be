"""SelfAttention: the single-head block of "CNNtention: Can CNNs do better with Attention?" (arXiv 2412.11657).

    Q, K, V = W_q x + b_q, W_k x + b_k, W_v x + b_v     1 x 1 convolutions C -> C, no channel reduction
    P       = softmax_j(q_i . k_j)                      over the N = H W positions, not scaled
    Y_i     = sum_j P_ij v_j
    out     = gamma Y + x                               gamma: one learnable scalar that starts at 0

Weights start Kaiming-normal (fan_out, relu), biases with PyTorch's default. b_k adds the same number to all scores of a
query, so the softmax cancels it and its gradient is zero up to rounding.

Deviation: attention is fused, so that P is never in memory, except with `keep_map` or softmax_axis=queries, which
build it.

Variants. gamma=1: "unweighted". scale: scores divided by sqrt(C). residual=False: out = gamma Y, where a learnable
gamma starts at 1 (at 0 the output would be all zeros). softmax_axis=queries: the paper's first tuning run summed over
the axis that was not normalised, Y_j = sum_i P_ij v_i; that run is softmax_axis=queries, residual=False, gamma=1.

A warning from the paper's checkpoints: as gamma starts at 0 the other weights get no gradient at first, and Adam with
coupled weight decay can drive them to zero before it grows; the block is then an exact identity for good.
"""

from torch import Tensor, nn

from zoomexp.arguments import boolean, one_of
from zoomexp.attention.dot_product import (
    branch_weight,
    channels_first,
    check_start,
    explicit_weights,
    fused,
    heads_last,
    received,
)
from zoomexp.attention.spatial_map import SpatialMap


class SelfAttention(SpatialMap):
    """Every position attends to every position, with one head.

    Args:
        channels: channels C of the feature map.
        residual: add the input to the output.
        gamma: "learned", or a constant number.
        scale: divide the scores by sqrt(C).
        softmax_axis: "keys", or "queries" for the wrong axis of the paper's first tuning run.
        keep_map: build P and keep the attention that each position receives.
        start: "paper", or "identity", which a learned gamma with the residual is in either case.

    Shape:
        `(B, C, H, W) -> (B, C, H, W)`. With `keep_map`, `map` is `(B, 1, H, W)`: the mean of P_ij over the queries i,
        divided by its maximum over the positions j (for either `softmax_axis`).

    Raises:
        InputError: an argument outside these ranges.

    >>> import torch
    >>> module = SelfAttention(1, gamma=1)
    >>> with torch.no_grad():
    ...     for parameter, value in zip(module.parameters(), (0, 1, 1.0986123, 0, 4, 0)):  # q = 1, k = ln(3) x, v = 4 x
    ...         _ = parameter.fill_(value)
    ...     module(torch.tensor([[[[0.0, 1.0]]]])).round(decimals=4)  # P = 1/4, 3/4, so Y = 3
    tensor([[[[3., 4.]]]])
    """

    default_at = "every_stage"
    zoom_factor = 1

    def __init__(
        self,
        channels: int,
        *,
        residual: bool = True,
        gamma: str | float = "learned",
        scale: bool = False,
        softmax_axis: str = "keys",
        keep_map: bool = False,
        start: str = "paper",
    ) -> None:
        super().__init__()
        one_of("attention.softmax_axis", softmax_axis, ("keys", "queries"))
        for name, value in {"residual": residual, "scale": scale, "keep_map": keep_map}.items():
            boolean(f"attention.{name}", value)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        for layer in (self.query, self.key, self.value):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        check_start(start, gamma, residual)
        self.gamma = branch_weight(gamma, residual)
        self.residual, self.softmax_axis, self.keep_map = residual, softmax_axis, keep_map
        self.score_scale = channels**-0.5 if scale else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Mix the positions of x `(B, C, H, W)`."""
        height, width = x.shape[2:]
        q, k, v = (heads_last(layer(x), 1) for layer in (self.query, self.key, self.value))
        if self.keep_map or self.softmax_axis == "queries":
            y = self._explicit(q, k, v, height, width)
        else:
            y = fused(q, k, v, self.score_scale)
        y = self.gamma * channels_first(y, height, width)
        return y + x if self.residual else y

    def _explicit(self, q: Tensor, k: Tensor, v: Tensor, height: int, width: int) -> Tensor:
        """Y `(B, 1, N, C)` by way of the N x N matrix P."""
        weights = explicit_weights(q, k, self.score_scale)
        if self.keep_map:
            self.map = received(weights, height, width)
        return (weights if self.softmax_axis == "keys" else weights.transpose(-2, -1)) @ v
