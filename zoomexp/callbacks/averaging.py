"""The running average of the weights, which validation and test then use."""

from pytorch_lightning.callbacks import EMAWeightAveraging

from zoomexp.arguments import finite


def ema(decay: float) -> EMAWeightAveraging:
    """Build Lightning's callback for an exponential moving average.

    Args:
        decay: In [0, 1): how much of the average each step keeps.

    Raises:
        InputError: A decay out of its range.
    """
    finite("callbacks.ema.decay", decay, lambda share: 0 <= share < 1, "a number in [0, 1)")
    return EMAWeightAveraging(decay=decay)
