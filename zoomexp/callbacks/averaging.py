"""The running average of the weights, which validation and test then use."""

from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor

from zoomexp.arguments import boolean, finite

POWER = 2 / 3  # timm's (`ModelEmaV3`): nothing is kept at the second step, 0.95 after 90, 0.999 after 31,623


def ema(decay: float, warmup: bool = False) -> WeightAveraging:
    """Build Lightning's callback for an exponential moving average.

    Args:
        decay: In [0, 1): how much of the average each step keeps.
        warmup: After n steps keep no more than 1 - n^(-2/3), as timm does, so that in short runs the start does
            not outweigh what was learned: with decay 0.999 a plain average still has 37 % of it after 1,000 steps.

    Raises:
        InputError: A decay out of its range.
    """
    finite("callbacks.ema.decay", decay, lambda share: 0 <= share < 1, "a number in [0, 1)")
    boolean("callbacks.ema.warmup", warmup)
    if not warmup:
        return EMAWeightAveraging(decay=decay)

    def average(kept: Tensor, new: Tensor, steps: Tensor) -> Tensor:
        share = (1 - steps.float() ** -POWER).clamp(max=decay)
        return share * kept + (1 - share) * new

    return WeightAveraging(avg_fn=average)
