"""Training images mixed in pairs: mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899), which are timm's.

With a weight l that each batch draws from a Beta distribution, an image x_i, its partner x_j and their one-hot labels:

    mixup   x = l x_i + (1 - l) x_j
    CutMix  x = x_i outside of a random rectangle and x_j inside; l is then the share of the image outside
    both    y = l y_i + (1 - l) y_j

The partner of an image stands as far from the end of the batch as the image from its beginning.
"""

from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING

from torch import Tensor

from zoomexp.errors import InputError

if TYPE_CHECKING:  # the config names it
    from timm.data import Mixup


class Mixing:
    """Mixes the images and the labels of a training batch; draws from numpy's global generator.

    Args:
        make: Called with `num_classes`, builds timm's `Mixup`.
        num_classes: K.

    Raises:
        InputError: For an option out of its range.
    """

    def __init__(self, make: Callable[..., "Mixup"], num_classes: int) -> None:
        self.mixup = make(num_classes=num_classes)
        for name, value in (("mixup_alpha", self.mixup.mixup_alpha), ("cutmix_alpha", self.mixup.cutmix_alpha)):
            if not (_is_real(value) and 0 <= value < float("inf")):
                raise InputError(f"mixing.{name} must be at least 0, got {value}")
        if self.mixup.mixup_alpha == self.mixup.cutmix_alpha == 0:
            raise InputError("mixing.mixup_alpha or mixing.cutmix_alpha must be above 0; or choose mixing=none")
        for name, value in (("prob", self.mixup.mix_prob), ("switch_prob", self.mixup.switch_prob)):
            if not (_is_real(value) and 0 <= value <= 1):
                raise InputError(f"mixing.{name} must be in [0, 1], got {value}")
        smoothing = self.mixup.label_smoothing
        if not (_is_real(smoothing) and 0 <= smoothing < 1):
            raise InputError(f"mixing.label_smoothing must be in [0, 1), got {smoothing}")

    def check(self, images: int) -> None:
        """Refuse an odd number of images a batch: one would have itself as its partner."""
        if images % 2:
            raise InputError(
                f"dataset.batch_size: mixing needs an even number of images a batch, the last too, got {images}"
            )

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B,) int64 to mixed images and targets (B, K) float32, rows summing to one.

        Raises:
            InputError: For an odd B.
        """
        self.check(len(images))
        return self.mixup(images.clone(), labels)  # timm works in place, on what may be the data set's own


def _is_real(value: object) -> bool:
    return isinstance(value, Real)
