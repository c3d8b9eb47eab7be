"""Cross-entropy with label smoothing."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import real


class CrossEntropy(nn.Module):
    """Mean cross-entropy over the batch.

    Args:
        label_smoothing: In [0, 1): share of the target mass spread over all classes.

    Raises:
        InputError: For a smoothing outside [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        real("loss.label_smoothing", label_smoothing, lambda share: 0 <= share < 1, "a number in [0, 1)")
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Tensor, target: Tensor, maps: Mapping[str, Tensor] | None = None, epoch: float = 0.0
    ) -> dict[str, Tensor]:
        """Logits (B, K) and targets (B,) int64 or (B, K) probabilities to {"cross_entropy": scalar}."""
        return {"cross_entropy": F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)}
