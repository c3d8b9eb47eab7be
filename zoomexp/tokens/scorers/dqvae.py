"""DQ-VAE's region finder: a gate that learns which patches an autoencoder must code finely.

"Towards Accurate Image Coding: Improved Autoregressive Image Generation with Dynamic Vector Quantization" (Huang et al.
2023, arXiv 2305.11718), with two grains. Per patch, f its four fine features, c its coarse one:

    g     = softmax(MLP(norm(c), mean norm(f), entropy))       (coarse, fine); in training hard, by Gumbel-softmax
    code  = f where fine, c four times where coarse, each times its gate (1, with the gate's gradient)
    loss  = mean (decoder(code) - image)^2 + weight (mean g_fine - ratio)^2
    score = g_fine without noise

The budget term keeps the share of fine patches at `ratio`; the reconstruction decides which they are. Deviations: no
codebook and no adversarial or perceptual loss, which say how to code, not where; a small encoder and decoder; the gate
also sees the patch's grey-level entropy, which the paper finds that gates follow.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import multiple_of, number
from zoomexp.tokens.scorers.entropy import patch_entropy
from zoomexp.tokens.scorers.grid import patches_per_side
from zoomexp.tokens.scorers.learned import LearnedScorer

BINS, GROUPS = 32, 8


class DQVAE(LearnedScorer):
    """Scores of a learned gate; `auxiliary_loss` is its reconstruction and budget loss.

    Args:
        image_size: side of the images.
        patch_size: side of the host's patches, even.
        in_chans: channels of the images.
        width: channels of features and code, a multiple of 8. Without a codebook it alone limits what a code holds: it
            should be well below the number of values in a fine patch, or coarse codes will do everywhere.
        ratio: wanted share of fine patches, in [0, 1].
        budget_weight: weight of the budget term, at least 0.

    Raises:
        InputError: an argument outside these ranges.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        in_chans: int = 3,
        width: int = 64,
        ratio: float = 0.5,
        budget_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.side = patches_per_side(image_size, patch_size)
        multiple_of("tokens.scorer.patch_size", patch_size, 2)
        multiple_of("tokens.scorer.width", width, GROUPS)
        number("tokens.scorer.ratio", ratio, 0, 1)
        number("tokens.scorer.budget_weight", budget_weight, 0)
        self.ratio, self.budget_weight, half = ratio, budget_weight, patch_size // 2
        self.fine = nn.Sequential(
            nn.Conv2d(in_chans, width, half, half), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.coarse = nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 2, 2))
        self.norms = nn.ModuleList([nn.GroupNorm(GROUPS, width) for _ in range(2)])
        self.gate = nn.Sequential(nn.Linear(2 * width + 1, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2))
        self.decoder = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.ConvTranspose2d(width, in_chans, half, half)
        )

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            fine = self.fine(images)
            coarse = self.coarse(fine)
            logits = self._gate(images, fine, coarse)
            self.auxiliary_loss = self._loss(images, fine, coarse, logits) if self.training else None
        return logits.detach().float().softmax(3)[..., 1]

    def _gate(self, images: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Logits (B, S, S, 2) of coarse and fine, from features (B, w, 2 S, 2 S) and (B, w, S, S)."""
        entropy = patch_entropy(images, self.side, BINS)[:, None]
        seen = torch.cat([self.norms[0](coarse), F.avg_pool2d(self.norms[1](fine), 2), entropy.to(fine.dtype)], 1)
        gates: Tensor = self.gate(seen.permute(0, 2, 3, 1))
        return gates

    def _loss(self, images: Tensor, fine: Tensor, coarse: Tensor, logits: Tensor) -> Tensor:
        of_coarse, of_fine = F.gumbel_softmax(logits.float(), hard=True, dim=3).permute(3, 0, 1, 2)[:, :, None]
        code = F.interpolate(coarse * of_coarse, scale_factor=2.0) + fine * F.interpolate(of_fine, scale_factor=2.0)
        budget = (of_fine.mean() - self.ratio).square()
        loss: Tensor = F.mse_loss(self.decoder(code), images) + self.budget_weight * budget
        return loss
