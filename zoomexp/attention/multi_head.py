"""MultiHead: the multi-head block of "CNNtention: Can CNNs do better with Attention?" (arXiv 2412.11657).

    Q, K, V = W_q x + b_q, W_k x + b_k, W_v x + b_v     1 x 1 convolutions C -> C; heads of d = C / heads
    P       = softmax_j(q_i . k_j / sqrt(d))            per head, over the N = H W positions
    Y_i     = sum_j P_ij v_j                            heads concatenated
    out     = gamma (W_o Y + b_o) + x                   gamma: one learnable scalar that starts at 0

Weights start Kaiming-normal (fan_out, relu), biases with PyTorch's default. b_k adds the same number to all scores of a
query, so the softmax cancels it and its gradient is zero up to rounding.

Deviations: the paper's code computes softmax(K^T Q), which is this with the names of Q and K exchanged. Attention is
fused, so that P is never in memory, except with `keep_map`, which builds it.

Variants. gamma=1: "unweighted". residual=False: out = gamma (W_o Y + b_o), where a learnable gamma starts at 1 (at 0
the output would be all zeros). scale=False: scores not divided by sqrt(d).

A warning from the paper's checkpoints: as gamma starts at 0 the other weights get no gradient at first, and Adam with
coupled weight decay can drive them to zero before it grows. All three blocks of the paper's final CIFAR-10 model
ended that way, as exact identities.
"""

from torch import Tensor, nn

from zoomexp.arguments import boolean, integer
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
from zoomexp.errors import InputError


class MultiHead(SpatialMap):
    """Every position attends to every position, with several heads.

    Args:
        channels: channels C of the feature map.
        heads: number of heads, a divisor of `channels`.
        residual: add the input to the output.
        gamma: "learned", or a constant number.
        scale: divide the scores by sqrt(C / heads).
        keep_map: build P and keep the attention that each position receives.
        start: "paper", or "identity", which a learned gamma with the residual is in either case.

    Shape:
        `(B, C, H, W) -> (B, C, H, W)`. With `keep_map`, `map` is `(B, 1, H, W)`: the mean of P_ij over the heads and
        the queries i, divided by its maximum over the positions j.

    Raises:
        InputError: an argument outside these ranges, or heads that do not divide the channels.

    >>> import torch
    >>> module = MultiHead(2, heads=2, gamma=1, residual=False)
    >>> with torch.no_grad():
    ...     for layer in (module.query, module.key, module.value, module.out):
    ...         _ = layer.weight.copy_(torch.eye(2)[:, :, None, None]), layer.bias.zero_()
    ...     _ = module.query.weight.zero_(), module.query.bias.copy_(torch.tensor([0.0, 1.0986123]))
    ...     module(torch.tensor([[[[0.0, 1.0]], [[0.0, 1.0]]]])).round(decimals=4)  # P = 1/2, 1/2 and 1/4, 3/4
    tensor([[[[0.5000, 0.5000]],
    <BLANKLINE>
             [[0.7500, 0.7500]]]])
    """

    default_at = "every_stage"
    zoom_factor = 1

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        residual: bool = True,
        gamma: str | float = "learned",
        scale: bool = True,
        keep_map: bool = False,
        start: str = "paper",
    ) -> None:
        super().__init__()
        integer("attention.heads", heads)
        for name, value in {"residual": residual, "scale": scale, "keep_map": keep_map}.items():
            boolean(f"attention.{name}", value)
        if channels % heads:
            allowed = ", ".join(str(n) for n in range(1, channels + 1) if channels % n == 0)
            raise InputError(f"attention.heads must divide the {channels} channels ({allowed}), got {heads}")
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        check_start(start, gamma, residual)
        self.gamma = branch_weight(gamma, residual)
        self.heads, self.residual, self.keep_map = heads, residual, keep_map
        self.score_scale = (channels // heads) ** -0.5 if scale else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Mix the positions of x `(B, C, H, W)`."""
        height, width = x.shape[2:]
        q, k, v = (heads_last(layer(x), self.heads) for layer in (self.query, self.key, self.value))
        y: Tensor
        if self.keep_map:
            weights = explicit_weights(q, k, self.score_scale)
            self.map = received(weights, height, width)
            y = weights @ v
        else:
            y = fused(q, k, v, self.score_scale)
        y = self.gamma * self.out(channels_first(y, height, width))
        return y + x if self.residual else y
