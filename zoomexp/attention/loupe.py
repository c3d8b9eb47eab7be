"""Loupe: a mask from a small CNN, multiplied onto the feature map.

Paper: "The Loupe: A Plug-and-Play Attention Module for Amplifying Discriminative Features in Vision Transformers"
(arXiv 2508.16663).

    M    = sigmoid(W_2 * relu(W_1 * x + b_1) + b_2)     W_1: 3 x 3, C -> C / reduction;  W_2: 1 x 1, -> 1
    out  = x . M                                        no residual, no normalisation

Trained with `cross entropy + lambda * mean(M)`, a loss on `map`. PyTorch's default initialisation, so M starts near
0.5 everywhere. The paper claims under 0.1 % extra parameters; its released reduction of 4 adds 0.17 % to Swin-B and
0.30 % to Swin-T, 16 keeps the claim.

start=identity, for hosts whose weights are to keep working, opens the mask: W_2 = 0 and b_2 = 4, so that M = 0.982
everywhere, from where its slope (0.018; 0.25 at M = 0.5) still lets it move.

Variants beyond the paper, as controls of the mask:
constant    M = 0.5 everywhere, no parameters.
random      M is uniform noise in [0, 1), the same for every image and every model seed; another `seed` gives another
            mask. It is cut from a fixed 64 x 64 tile, repeated on larger maps, and travels with the state dict.
scalar      M averaged over the positions: one learned gate per image, so nothing spatial is left.
none        no gate: a residual block of the same two layers, x + (W_2 * relu(W_1 * x + b_1) + b_2) with W_2 going to C
            channels, so that it can use its 3 x 3 convolution for anything but gating. It has slightly more parameters.
"""

import torch
from torch import Tensor, nn

from zoomexp.arguments import integer, number, one_of
from zoomexp.attention.spatial_map import SpatialMask
from zoomexp.errors import InputError

REDUCTION = 4  # the released code's
TILE = 64
OPEN = 4.0  # sigmoid(4) = 0.982


class Loupe(SpatialMask):
    """A mask from a small CNN, multiplied onto all channels.

    Args:
        channels: channels C of the feature map.
        reduction: hidden width is C // reduction, at least 1.
        mask: "learned", or a control: "constant", "random", "scalar", "none" (see above).
        bias: added to W_2's initial bias: 2 starts the mask near 0.88. 0 is the paper's.
        seed: of the random mask; 0 with the others.
        start: "paper", or "identity": a mask near 1, for hosts whose weights are to keep working.

    Shape:
        `(B, C, H, W) -> (B, C, H, W)`. `map` is M, `(B, 1, H, W)`; there is none with mask=none.

    Raises:
        InputError: an argument outside these ranges, a bias where no mask is learned, a seed where none is drawn, or
            start=identity where nothing is learned or with a bias.

    >>> import torch
    >>> module = Loupe(4)
    >>> with torch.no_grad():
    ...     _ = module.squeeze.weight.zero_(), module.squeeze.bias.zero_(), module.expand.bias.fill_(1.0986123)
    ...     module(torch.full((1, 4, 2, 2), 8.0))[0, 0].round(decimals=4)  # sigmoid(ln 3) = 3/4
    tensor([[6., 6.],
            [6., 6.]])
    """

    tile: Tensor  # of mask=random
    default_at = "stage2"
    zoom_factor = 1

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = REDUCTION,
        mask: str = "learned",
        bias: float = 0.0,
        seed: int = 0,
        start: str = "paper",
    ) -> None:
        super().__init__()
        integer("attention.reduction", reduction)
        one_of("attention.mask", mask, ("learned", "constant", "random", "scalar", "none"))
        number("attention.bias", bias)
        integer("attention.seed", seed, 0)
        if bias and mask not in ("learned", "scalar"):
            raise InputError(f"attention.bias must be 0 with mask={mask}, which learns no mask, got {bias!r}")
        if seed and mask != "random":
            raise InputError(f"attention.seed must be 0 with mask={mask}, which draws nothing, got {seed}")
        if reduction != REDUCTION and mask in ("constant", "random"):
            raise InputError(f"attention.reduction must be {REDUCTION} with mask={mask}, which has no hidden layer")
        one_of("attention.start", start, ("paper", "identity"))
        if start == "identity" and (bias or mask in ("constant", "random")):
            raise InputError(f"attention.start=identity needs a mask that is learned and no bias, got {mask}, {bias:g}")
        self.mask = mask
        if mask == "random":
            tile = torch.rand(1, 1, TILE, TILE, generator=torch.Generator().manual_seed(seed))
            self.register_buffer("tile", tile)
        if mask in ("learned", "scalar", "none"):
            hidden = max(1, channels // reduction)
            self.squeeze = nn.Conv2d(channels, hidden, 3, padding=1)
            self.expand = nn.Conv2d(hidden, channels if mask == "none" else 1, 1)
            assert self.expand.bias is not None
            with torch.no_grad():
                self.expand.bias += bias
        if start == "identity":
            assert self.expand.bias is not None
            nn.init.zeros_(self.expand.weight)
            nn.init.constant_(self.expand.bias, 0.0 if mask == "none" else OPEN)

    def forward(self, x: Tensor) -> Tensor:
        """Mask x `(B, C, H, W)`."""
        if self.mask == "none":
            return x + self._layers(x)
        self.map = self._mask(x)
        return x * self.map

    def _layers(self, x: Tensor) -> Tensor:
        expanded: Tensor = self.expand(torch.relu(self.squeeze(x)))
        return expanded

    def _mask(self, x: Tensor) -> Tensor:
        """M `(B, 1, H, W)` for x `(B, C, H, W)`."""
        batch, _, height, width = x.shape
        if self.mask == "constant":
            return torch.full_like(x[:, :1], 0.5)
        if self.mask == "random":
            repeated = self.tile.repeat(1, 1, -(-height // TILE), -(-width // TILE))
            return repeated[:, :, :height, :width].expand(batch, -1, -1, -1).to(x.dtype)
        learned = torch.sigmoid(self._layers(x))
        return learned.mean((2, 3), keepdim=True).expand_as(learned) if self.mask == "scalar" else learned
