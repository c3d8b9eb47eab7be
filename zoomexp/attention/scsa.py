"""SCSA: gates for rows and columns by groups of channels, then attention among channels.

Paper: "SCSA: Exploring the Synergistic Effects Between Spatial and Channel Attention" (arXiv 2407.05128).

    x_h, x_w = mean_W x, mean_H x                       (B, C, H) and (B, C, W), each in 4 groups of C / 4 channels
    g_h      = sigmoid(GN_h([conv_3; conv_5; conv_7; conv_9](x_h)))     depthwise, 1-D, one kernel size a group
    g_w      = sigmoid(GN_w([conv_3; conv_5; conv_7; conv_9](x_w)))     the same convolutions, norms of their own
    x_s      = x . g_h . g_w                            GN_h, GN_w: group norms with 4 groups
    y        = GN_1(pool(x_s))                          mean over windows of 7 x 7, without those that do not fit
    q, k, v  = w_q y, w_k y, w_v y                      one number for each channel, no bias
    a        = softmax(q k' / sqrt(d)) v                (C, C) within each of `heads` groups of d = C / heads channels
    out      = sigmoid(mean_HW a) . x_s

16 C parameters. The paper puts it after the 3 x 3 convolution of each bottleneck (`insertion.at` takes the paths).

Deviations: a map smaller than the window is one window (the released code fails there); channels that are no multiple
of 4 are refused (its assertion tests another thing). start=identity is ours: out = x + gamma (SCSA(x) - x) with a
learned scalar gamma that starts at 0.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import integer, number, one_of
from zoomexp.attention.spatial_map import SpatialMap
from zoomexp.errors import InputError

KERNELS = (3, 5, 7, 9)


class SCSA(SpatialMap):
    """Gates for rows and columns, then attention among channels.

    Args:
        channels: channels C of the feature map, a multiple of 4.
        window: side of the windows that are averaged before the channels attend, at least 1.
        heads: groups of channels that attend among themselves, a divisor of `channels`.
        dropout: of the attention among channels, in [0, 1].
        start: "paper", or "identity": what the module changes is multiplied by a scalar that starts at 0.

    Shape:
        `(B, C, H, W) -> (B, C, H, W)`. `map` is g_h . g_w, averaged over channels, `(B, 1, H, W)`.

    Raises:
        InputError: an argument outside these ranges.

    >>> import torch
    >>> module = SCSA(4)
    >>> with torch.no_grad():
    ...     _ = [p.zero_() for p in module.parameters()]  # all gates are sigmoid(0) = 1/2
    ...     module(torch.full((1, 4, 2, 2), 8.0))[0, 0]
    tensor([[1., 1.],
            [1., 1.]])
    """

    default_at = "every_stage"
    zoom_factor = 1

    def __init__(
        self, channels: int, *, window: int = 7, heads: int = 1, dropout: float = 0.0, start: str = "paper"
    ) -> None:
        super().__init__()
        integer("attention.window", window)
        integer("attention.heads", heads)
        number("attention.dropout", dropout, 0, 1)
        one_of("attention.start", start, ("paper", "identity"))
        if channels % len(KERNELS):
            raise InputError(f"attention=scsa needs a multiple of {len(KERNELS)} channels, got {channels}")
        if channels % heads:
            allowed = ", ".join(str(n) for n in range(1, channels + 1) if channels % n == 0)
            raise InputError(f"attention.heads must divide the {channels} channels ({allowed}), got {heads}")
        group = channels // len(KERNELS)
        self.convolutions = nn.ModuleList(nn.Conv1d(group, group, k, padding=k // 2, groups=group) for k in KERNELS)
        self.norm_h, self.norm_w = nn.GroupNorm(4, channels), nn.GroupNorm(4, channels)
        self.norm = nn.GroupNorm(1, channels)
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1, bias=False, groups=channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        self.window, self.heads = window, heads
        self.gamma = nn.Parameter(torch.tensor(0.0)) if start == "identity" else None

    def forward(self, x: Tensor) -> Tensor:
        """Gate x `(B, C, H, W)`."""
        rows, columns = self._gate(x.mean(3), self.norm_h), self._gate(x.mean(2), self.norm_w)
        gates = rows[:, :, :, None] * columns[:, :, None, :]
        self.map = gates.mean(1, keepdim=True)
        y = x * gates
        y = (y * self._channel_gate(y)).to(x.dtype)  # under autocast the norms give single precision
        return y if self.gamma is None else x + self.gamma * (y - x)

    def _gate(self, line: Tensor, norm: nn.Module) -> Tensor:
        """Of means `(B, C, L)` the gates `(B, C, L)`."""
        groups = line.chunk(len(KERNELS), 1)
        mixed = torch.cat([layer(group) for layer, group in zip(self.convolutions, groups, strict=True)], 1)
        return torch.sigmoid(norm(mixed))

    def _channel_gate(self, x: Tensor) -> Tensor:
        """`(B, C, 1, 1)`."""
        window = (min(self.window, x.shape[2]), min(self.window, x.shape[3]))
        y = self.norm(F.avg_pool2d(x, window))
        q, k, v = (layer(y).flatten(2).unflatten(1, (self.heads, -1)) for layer in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.mT * q.shape[2] ** -0.5, -1)
        mixed = self.dropout(weights) @ v
        return torch.sigmoid(mixed.flatten(1, 2).mean(2))[:, :, None, None]
