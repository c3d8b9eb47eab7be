"""HPM's region finder: a predictor of how badly a masked autoencoder will reconstruct each patch.

"Hard Patches Mining for Masked Image Modeling" (Wang et al. 2023, arXiv 2304.05919). An encoder sees the visible
patches, two decoders see its output with mask tokens in the gaps: one predicts pixels, the other their loss l.

    L_rec   mean over masked patches of l_i = mean (pixels_i - predicted_i)^2, pixels normalised per patch
    L_pred  mean over pairs of masked patches with l_i > l_j of -log sigmoid(s_i - s_j)     (the relative form)
    loss    L_rec + L_pred
    mask    `mask_ratio` of the patches: of these `hard_share` with the highest s of the whole image, the rest at random
    score   s of the whole image, to [0, 1] per image

Deviations: small transformers; a fixed `hard_share` (the paper's grows from 0 to 0.5 over training); the network
itself, not its moving average, finds the hard patches.
"""

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import integer, multiple_of, number
from zoomexp.errors import InputError
from zoomexp.relevance.normalisation import min_max
from zoomexp.tokens.scorers.grid import patches_per_side
from zoomexp.tokens.scorers.learned import LearnedScorer

HEAD = 64  # channels of an attention head


class HPM(LearnedScorer):
    """Scores of a loss predictor; `auxiliary_loss` is its reconstruction and prediction loss.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches.
        in_chans: channels of the images.
        width: channels of all transformers, a multiple of 64 (the heads' width).
        depth: blocks of the encoder; half as many, at least one, in each decoder.
        mask_ratio: share of the patches that are masked, in [0, 1]; at least one stays visible, one is masked.
        hard_share: share of the masked patches that are chosen for being hard, in [0, 1].

    Raises:
        InputError: an argument outside these ranges, or a grid of fewer than two patches.
    """

    places: Tensor

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        in_chans: int = 3,
        width: int = 128,
        depth: int = 4,
        mask_ratio: float = 0.75,
        hard_share: float = 0.5,
    ) -> None:
        super().__init__()
        self.side, self.patch_size = patches_per_side(image_size, patch_size), patch_size
        if self.side < 2:
            raise InputError(f"tokens.scorer.image_size must hold 2 x 2 patches or more, got {image_size}")
        multiple_of("tokens.scorer.width", width, HEAD)
        integer("tokens.scorer.depth", depth)
        number("tokens.scorer.mask_ratio", mask_ratio, 0, 1)
        number("tokens.scorer.hard_share", hard_share, 0, 1)
        patches, pixels = self.side**2, in_chans * patch_size**2
        self.masked = min(max(round(mask_ratio * patches), 1), patches - 1)
        self.hard = round(hard_share * self.masked)
        self.register_buffer("places", build_sincos2d_pos_embed([self.side, self.side], width), persistent=False)
        self.embed = nn.Linear(pixels, width)
        self.encoder = _blocks(width, depth, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.reconstruct = _blocks(width, max(depth // 2, 1), pixels)
        self.predict = _blocks(width, max(depth // 2, 1), 1)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        pixels = F.pixel_unshuffle(images, self.patch_size).flatten(2).mT  # (B, S^2, C p^2)
        with torch.no_grad():
            difficulty = self.predict(self.encoder(self.embed(pixels) + self.places) + self.places)[..., 0].float()
        self.auxiliary_loss = self._loss(pixels, difficulty) if self.training else None
        return min_max(difficulty.unflatten(1, (self.side, self.side)))

    def _loss(self, pixels: Tensor, difficulty: Tensor) -> Tensor:
        order = self._order(difficulty)
        hidden, visible = order[:, : self.masked], order[:, self.masked :]
        seen = self.encoder(_rows(self.embed(pixels) + self.places, visible))
        gaps = self.mask_token.expand(*hidden.shape, -1).to(seen.dtype)
        decoded = torch.cat([gaps, seen], 1) + self.places[order]
        target = _rows(pixels, hidden)
        target = F.layer_norm(target, target.shape[-1:])
        errors = (self.reconstruct(decoded)[:, : self.masked] - target).square().mean(2)
        loss: Tensor = errors.mean() + relative_loss(self.predict(decoded)[:, : self.masked, 0], errors.detach())
        return loss

    def _order(self, difficulty: Tensor) -> Tensor:
        """Patch numbers (B, S^2), those to be masked first: the hardest, then random ones."""
        keys = torch.rand_like(difficulty)
        hardest = difficulty.topk(self.hard, dim=1).indices
        return keys.scatter_(1, hardest, 2.0).argsort(dim=1, descending=True)


def relative_loss(predicted: Tensor, errors: Tensor) -> Tensor:
    """How often the order of predictions (B, M) disagrees with that of errors (B, M), as a cross-entropy over pairs.

    >>> relative_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 2.0]])).round(decimals=4)  # log(1 + 1/e)
    tensor(0.3133)
    """
    pairs = errors[:, :, None] > errors[:, None]
    gaps = F.softplus(predicted[:, None] - predicted[:, :, None])
    return (gaps * pairs).sum() / pairs.sum().clamp(min=1)


def _blocks(width: int, depth: int, outputs: int) -> nn.Sequential:
    """A transformer and a linear layer to (B, N, outputs)."""
    blocks = [Block(width, num_heads=width // HEAD, qkv_bias=True) for _ in range(depth)]
    return nn.Sequential(*blocks, nn.LayerNorm(width), nn.Linear(width, outputs))


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows (B, M) of x (B, N, D)."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))
