"""AttZoom: "AttZoom: Attention Zoom for Better Visual Features" (arXiv 2508.03625).

    s    = sigmoid(W_A * x + b_A)               convolution C -> 1
    m    = 1 where s >= threshold, else s       the gate; never a hard zero
    u    = x . m, each value followed by zoom - 1 zeros in both directions (value at the top left of its cell)
    out  = W_E * u + b_E                        "enhancement" convolution C -> C, on the enlarged map

Two learnable kernels and nothing else: no normalisation, no activation after W_E. The paper leaves open the threshold
(0.5 here), both kernel sizes (3), whether the test is on W_A * x or on its sigmoid (the sigmoid here) and the gradient
(plain autograd: none reaches W_A through a position where m = 1).

How it is computed. Convolving the map with zeros in it equals a transposed convolution of stride `zoom` with the
kernel flipped, padding (k - 1) / 2 and output padding zoom - 1: the same numbers from 1 / zoom^2 of the products. With
`keep_size` the stride lands only on taps a multiple of `zoom` away from the centre, so it is an ordinary convolution
with those taps; at the defaults (k = 3, zoom = 2) that is the centre tap alone, and the other eight learn nothing.

Initialisation. W_A and the biases: PyTorch's default. W_E: He-normal with the number of inputs that are *not* zero,
fan_in = C k^2 / zoom^2 for upsample=zeros (averaged over the zoom^2 phases of the output), so its standard deviation
is `zoom` times that of a dense map: 2 times for zoom 2; C (2 floor((k - 1) / (2 zoom)) + 1)^2 with `keep_size`; C k^2
for the dense upsamplings. The arms of an ablation over `upsample` thus start at the same scale.

Variants beyond the paper, as controls: gate=sigmoid (m = s), gate=hard (m = 1 or 0, with the straight-through
gradient: that of s), gate=none (m = 1, no W_A, no map), upsample=bilinear or nearest, enhance=none (no W_E), zoom=1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import boolean, integer, number, odd, one_of
from zoomexp.attention.spatial_map import SpatialMask
from zoomexp.errors import InputError


class AttZoom(SpatialMask):
    """Thresholded spatial gate, then a learned enlargement.

    Args:
        channels: channels C of the feature map.
        threshold: gate values from here up become 1 (gate=threshold, hard); in [0, 1].
        kernel_size: size of W_A, odd.
        enhance_kernel_size: size of W_E, odd.
        zoom: enlargement factor, at least 1.
        keep_size: W_E has stride `zoom`, so that the output is as large as the input.
        enhance: "conv", or "none" for no enhancement convolution.
        upsample: "zeros" (interleaved), "bilinear" or "nearest".
        gate: "threshold", "sigmoid", "hard" or "none".

    Shape:
        `(B, C, H, W) -> (B, C, zoom H, zoom W)`, or `(B, C, H, W)` with `keep_size`. `map` is m, `(B, 1, H, W)`.

    Raises:
        InputError: an argument outside these ranges, or `keep_size` without an enhancement convolution.

    >>> import torch
    >>> module = AttZoom(1, kernel_size=1)
    >>> with torch.no_grad():
    ...     for parameter, value in zip(module.parameters(), (0, -1.0986123, 1, 0)):  # s = sigmoid(-ln 3) = 1/4
    ...         _ = parameter.fill_(value)
    ...     module(torch.tensor([[[[4.0, 8.0]]]])).round(decimals=4)  # 1 0 2 0 above 0 0 0 0, summed over 3 x 3
    tensor([[[[1., 3., 2., 2.],
              [1., 3., 2., 2.]]]])
    """

    default_at = "stem"

    def __init__(
        self,
        channels: int,
        *,
        threshold: float = 0.5,
        kernel_size: int = 3,
        enhance_kernel_size: int = 3,
        zoom: int = 2,
        keep_size: bool = False,
        enhance: str = "conv",
        upsample: str = "zeros",
        gate: str = "threshold",
    ) -> None:
        super().__init__()
        number("attention.threshold", threshold, 0, 1)
        odd("attention.kernel_size", kernel_size)
        odd("attention.enhance_kernel_size", enhance_kernel_size)
        integer("attention.zoom", zoom)
        boolean("attention.keep_size", keep_size)
        one_of("attention.enhance", enhance, ("conv", "none"))
        one_of("attention.upsample", upsample, ("zeros", "bilinear", "nearest"))
        one_of("attention.gate", gate, ("threshold", "sigmoid", "hard", "none"))
        if keep_size and enhance == "none":
            raise InputError("attention.keep_size must be false with enhance=none: only W_E can restore the size")
        self.threshold, self.zoom, self.keep_size = threshold, zoom, keep_size
        self.upsample, self.gate = upsample, gate
        self.zoom_factor = 1 if keep_size else zoom
        self.attention = nn.Conv2d(channels, 1, kernel_size, padding=kernel_size // 2) if gate != "none" else None
        self.enhance = None
        if enhance == "conv":
            self.enhance = nn.Conv2d(channels, channels, enhance_kernel_size, padding=enhance_kernel_size // 2)
            nn.init.normal_(self.enhance.weight, std=(2 / self._enhance_fan_in(self.enhance)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Gate and enlarge x `(B, C, H, W)`."""
        if self.attention is not None:
            self.map = self._gate(torch.sigmoid(self.attention(x)))
            x = x * self.map
        if self.upsample != "zeros":
            x = F.interpolate(x, scale_factor=self.zoom, mode=self.upsample)
            if self.enhance is None:
                return x
            stride = self.zoom if self.keep_size else 1
            return F.conv2d(x, self.enhance.weight, self.enhance.bias, stride, self.enhance.padding)
        if self.enhance is None:
            return interleave(x, self.zoom)
        return convolve_interleaved(x, self.enhance.weight, self.enhance.bias, self.zoom, self.keep_size)

    def _gate(self, s: Tensor) -> Tensor:
        """Turn s = sigmoid(A) into m, both `(B, 1, H, W)`."""
        if self.gate == "sigmoid":
            return s
        above = s >= self.threshold
        if self.gate == "hard":
            return above.to(s.dtype) + (s - s.detach())
        return torch.where(above, torch.ones_like(s), s)

    def _enhance_fan_in(self, enhance: nn.Conv2d) -> float:
        """How many of the values under W_E are not zeros that the enlargement put there, on average."""
        channels, _, size, _ = enhance.weight.shape
        if self.upsample != "zeros":
            return channels * size**2
        if self.keep_size:
            return channels * (2 * (size // 2 // self.zoom) + 1) ** 2
        return channels * size**2 / self.zoom**2


def interleave(x: Tensor, zoom: int) -> Tensor:
    """Put zoom - 1 zeros after every value, in both directions: `(B, C, H, W) -> (B, C, zoom H, zoom W)`."""
    cells = F.pad(x[:, :, :, None, :, None], (0, zoom - 1, 0, 0, 0, zoom - 1))
    return cells.flatten(4, 5).flatten(2, 3)


def convolve_interleaved(x: Tensor, weight: Tensor, bias: Tensor | None, zoom: int, keep_size: bool) -> Tensor:
    """Convolve `interleave(x, zoom)` with an odd kernel, stride `zoom` if `keep_size`, without building it."""
    padding = weight.shape[-1] // 2
    if keep_size or zoom == 1:
        taps = slice(padding % zoom, None, zoom)  # those a multiple of zoom away from the centre
        return F.conv2d(x, weight[:, :, taps, taps], bias, padding=padding // zoom)
    flipped = weight.transpose(0, 1).flip(2, 3)
    return F.conv_transpose2d(x, flipped, bias, stride=zoom, padding=padding, output_padding=zoom - 1)
