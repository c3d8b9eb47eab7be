"""Bringing relevance maps to [0, 1]."""

from torch import Tensor


def min_max(maps: Tensor) -> Tensor:
    """Each map to [0, 1] by its own minimum and maximum; a constant map becomes 0.

    The paper does not state its normalisation; this one fits a student with a sigmoid and the errors it reports.

    Args:
        maps: (B, S, S).

    Returns:
        (B, S, S).

    >>> import torch
    >>> min_max(torch.tensor([[[1.0, 3.0], [2.0, 5.0]]]))
    tensor([[[0.0000, 0.5000],
             [0.2500, 1.0000]]])
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    span = high - low
    return (maps - low) / span.where(span > 0, span.new_ones(()))
