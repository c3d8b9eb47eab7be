"""Cross-entropy plus an L1 penalty on the maps of the inserted modules.

Paper: "The Loupe", arXiv 2508.16663: L = CE + lambda * |M|_1. Its released code takes the mean over positions where the
text writes a sum; `reduction` has both. With several modules the term is the mean of their terms.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoomexp.arguments import number, one_of
from zoomexp.losses.cross_entropy import CrossEntropy


class SparseGate(CrossEntropy):
    """Cross-entropy + sparsity * L1 of the maps.

    Args:
        sparsity: lambda >= 0, the weight of the penalty.
        reduction: "mean" over batch and positions, or "sum" over positions and mean over the batch.
        warmup_epochs: The weight rises linearly from 0 over this many epochs (0: constant).
        label_smoothing: In [0, 1), for the cross-entropy.
        class_weights: For the cross-entropy, as there.

    Raises:
        InputError: For a negative weight or warm-up, or an unknown reduction.
    """

    needs_maps = True

    def __init__(
        self,
        sparsity: float = 0.05,
        reduction: str = "mean",
        warmup_epochs: float = 0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | str | None = None,
    ) -> None:
        super().__init__(label_smoothing, class_weights)
        number("loss.sparsity", sparsity, 0)
        one_of("loss.reduction", reduction, ("mean", "sum"))
        number("loss.warmup_epochs", warmup_epochs, 0)
        self.sparsity, self.reduction, self.warmup_epochs = sparsity, reduction, warmup_epochs

    def weight(self, epoch: float | Tensor) -> float | Tensor:
        """The penalty's weight after `epoch` epochs (a fraction counts), a tensor where that is one."""
        if not self.warmup_epochs:
            return self.sparsity
        share = epoch / self.warmup_epochs
        if isinstance(share, Tensor):
            return (self.sparsity * share.clamp(max=1.0)).float()
        return self.sparsity * min(1.0, share)

    def forward(
        self, logits: Tensor, target: Tensor, maps: Mapping[str, Tensor] | None = None, epoch: float | Tensor = 0.0
    ) -> dict[str, Tensor]:
        """Logits (B, K), targets and maps (B, 1, H, W) to {"cross_entropy": scalar, "sparsity": scalar}.

        >>> loss = SparseGate(sparsity=0.5)
        >>> maps = {"layer1": torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])}
        >>> float(loss(torch.zeros(1, 2), torch.tensor([0]), maps)["sparsity"])
        0.125
        """
        terms = super().forward(logits, target)
        sizes = [value.float().abs().flatten(1) for value in (maps or {}).values()]
        penalties = [size.mean() if self.reduction == "mean" else size.sum(1).mean() for size in sizes]
        return terms | {"sparsity": self.weight(epoch) * torch.stack(penalties).mean()}
