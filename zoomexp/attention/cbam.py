"""CBAM: a gate per channel, then a gate per position.

Paper: "CNNtention: Can CNNs do better with Attention?" (arXiv 2412.11657), after "CBAM: Convolutional Block Attention
Module" (arXiv 1807.06521).

    M_c  = sigmoid(MLP(max_HW x) + MLP(mean_HW x))          MLP: C -> C / reduction -> C, ReLU, no biases, shared
    x_1  = M_c . x
    M_s  = sigmoid(W * [max_c x_1 ; mean_c x_1] + b)        k x k convolution 2 -> 1
    out  = M_s . x_1 + x

The last sum is the CNNtention paper's; the original CBAM has no residual connection of its own (residual=False).
Weights start Kaiming-normal (fan_out, relu), the bias with PyTorch's default. On the large activations of a pretrained
host both gates then start saturated, open or shut, where they hardly learn; start=identity sets the last layers of both
to 0 and b to -4, so that M_c = 0.5, M_s = sigmoid(-4) = 0.018 and out = 1.009 x.

Deviation: the hidden width is at least 1. The paper's code lets it fall to 0 (16 channels, reduction 32), where the MLP
outputs nothing and M_c is the constant 0.5.
"""

import torch
from torch import Tensor, nn

from zoomexp.arguments import boolean, integer, odd, one_of
from zoomexp.attention.spatial_map import SpatialMask
from zoomexp.errors import InputError

SHUT = -4.0  # sigmoid(-4) = 0.018


class CBAM(SpatialMask):
    """A gate per channel, then a gate per position.

    Args:
        channels: channels C of the feature map.
        reduction: the MLP's hidden width is C // reduction, at least 1.
        kernel_size: size of the spatial convolution, odd.
        residual: add the input to the output.
        start: "paper", or "identity", which needs the residual.

    Shape:
        `(B, C, H, W) -> (B, C, H, W)`. `map` is M_s, `(B, 1, H, W)`.

    Raises:
        InputError: an argument outside these ranges, or start=identity without the residual.

    >>> import torch
    >>> module = CBAM(2)
    >>> with torch.no_grad():
    ...     for parameter, value in zip(module.parameters(), (0, 0, 0, 1.0986123)):  # M_c = 1/2, M_s = 3/4
    ...         _ = parameter.fill_(value)
    ...     module(torch.full((1, 2, 1, 2), 8.0))[0, 0].round(decimals=4)  # 3/4 of 1/2 of 8, plus 8
    tensor([[11., 11.]])
    """

    default_at = "every_stage"
    zoom_factor = 1

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        kernel_size: int = 7,
        residual: bool = True,
        start: str = "paper",
    ) -> None:
        super().__init__()
        integer("attention.reduction", reduction)
        odd("attention.kernel_size", kernel_size)
        boolean("attention.residual", residual)
        one_of("attention.start", start, ("paper", "identity"))
        if start == "identity" and not residual:
            raise InputError(
                "attention.start=identity needs attention.residual=true: without it the gates halve the input"
            )
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=False)
        self.spatial = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)
        for layer in (self.squeeze, self.expand, self.spatial):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if start == "identity":
            nn.init.zeros_(self.expand.weight)
            nn.init.zeros_(self.spatial.weight)
            assert self.spatial.bias is not None
            nn.init.constant_(self.spatial.bias, SHUT)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Gate x `(B, C, H, W)`."""
        gated = x * self.channel_gate(x)[:, :, None, None]
        pooled = torch.cat((gated.amax(1, keepdim=True), gated.mean(1, keepdim=True)), 1)
        self.map = torch.sigmoid(self.spatial(pooled))
        gated = gated * self.map
        return gated + x if self.residual else gated

    def channel_gate(self, x: Tensor) -> Tensor:
        """M_c `(B, C)` of x `(B, C, H, W)`, in (0, 1)."""
        return torch.sigmoid(self._mlp(x.amax((2, 3))) + self._mlp(x.mean((2, 3))))

    def _mlp(self, pooled: Tensor) -> Tensor:
        expanded: Tensor = self.expand(torch.relu(self.squeeze(pooled)))
        return expanded
