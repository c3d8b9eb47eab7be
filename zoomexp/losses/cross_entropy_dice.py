"""Cross-entropy and Dice of every pixel's class, and The Loupe's penalty on the maps.

    cross_entropy   mean over the pixels that count
    dice            w (1 - mean_c (2 sum p_c t_c + s) / (sum p_c + sum t_c + s)),  s = 1e-6

The sums run over all pixels of the batch that count, the mean over the classes that are there. Dice after "V-Net"
(Milletari et al., 3DV 2016, arXiv 1606.04797), without its squares, as in most code.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import finite, number
from zoomexp.datasets.masked import IGNORED
from zoomexp.losses.all_processes import of_a_process, of_all

SMOOTH = 1e-6


class CrossEntropyDice(nn.Module):
    """The loss of a segmenter.

    Args:
        dice_weight: w, at least 0.
        sparsity: lambda of the L1 mean of the inserted modules' maps, at least 0.
        label_smoothing: of the cross-entropy, in [0, 1).

    Raises:
        InputError: A number out of its range.
    """

    compares_pixels = True  # and not classes of images

    def __init__(self, dice_weight: float = 1.0, sparsity: float = 0.0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        number("loss.dice_weight", dice_weight, 0)
        number("loss.sparsity", sparsity, 0)
        finite("loss.label_smoothing", label_smoothing, lambda share: 0 <= share < 1, "a number in [0, 1)")
        self.dice_weight, self.sparsity, self.label_smoothing = dice_weight, sparsity, label_smoothing

    @property
    def needs_maps(self) -> bool:
        """Whether the maps of modules are read."""
        return self.sparsity > 0

    def forward(self, logits: Tensor, target: Tensor, maps: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Logits (B, K, H, W), classes (B, H, W) int64 (255: ignored) and maps (B, 1, h, w) to scalars by name."""
        logits = logits.float()
        entropy = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum",
                                  label_smoothing=self.label_smoothing)  # fmt: skip
        # Of a batch without any pixel that counts it is 0, and not 0 / 0.
        terms = {"cross_entropy": entropy / of_a_process((target != IGNORED).sum().float()).clamp(min=1)}
        terms["dice"] = self.dice_weight * dice_loss(logits, target)
        if self.sparsity:
            penalties = [one.float().abs().mean() for one in (maps or {}).values()]
            terms["sparsity"] = self.sparsity * torch.stack(penalties).mean()
        return terms


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of logits (B, K, H, W) and classes (B, H, W), the mean over the classes that are there: a scalar."""
    counts = (target != IGNORED)[:, None]
    chances = logits.softmax(1) * counts
    there = F.one_hot(target.where(counts[:, 0], 0), logits.shape[1]).permute(0, 3, 1, 2) * counts
    both, said, true = ((one).sum((0, 2, 3)) for one in (chances * there, chances, there))
    both, said, true = (of_all(one) for one in (both, said, true.to(said.dtype)))
    losses = 1 - (2 * both + SMOOTH) / (said + true + SMOOTH)
    present = (true > 0).float()
    return (losses * present).sum() / present.sum().clamp(min=1)
