"""Binary cross-entropy: each class is told apart from all others on its own.

"ResNet strikes back" (Wightman et al. 2021, arXiv 2110.00476) and DeiT III (Touvron et al. 2022, arXiv 2204.07118)
train so; mixed images then have several right classes.
"""

from timm.loss import BinaryCrossEntropy
from torch import Tensor

from zoomexp.losses.cross_entropy import CrossEntropy


class BCE(CrossEntropy):
    """Mean binary cross-entropy over the batch and the classes (timm's).

    Args:
        label_smoothing: In [0, 1): share of a single label's mass spread over all classes.

    Raises:
        InputError: For a smoothing outside [0, 1).
    """

    compared = "bce"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing)
        self.term = BinaryCrossEntropy(smoothing=label_smoothing)

    def compare(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K) and targets (N,) int64 or (N, K) in [0, 1] to a scalar, the term `bce`."""
        found: Tensor = self.term(logits, target)
        return found
