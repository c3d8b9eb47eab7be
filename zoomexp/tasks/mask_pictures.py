"""The class of every pixel drawn over the images that a segmenter was just shown."""

from typing import Any

import torch
from torch import Tensor

from zoomexp.analysis.masks_over import classes_over
from zoomexp.analysis.overlay import enlarged
from zoomexp.analysis.viewed import to_look_at


def drawn_masks(images: Tensor, said: Tensor, truth: Tensor, data: Any) -> dict[str, Tensor]:
    """What is there and what is said.

    Args:
        images: (n, C, H, W), normalised.
        said: (n, H, W), the predicted classes.
        truth: (n, H, W), the true ones.
        data: has `mean`, `std` and `classes`.

    Returns:
        `truth` and `said`, (n, 3, H', W') in [0, 1].
    """
    pictures = [enlarged(to_look_at(image, data.mean, data.std)) for image in images.detach().float().cpu()]
    return {
        name: torch.stack([classes_over(picture, one, data.classes)
                           for picture, one in zip(pictures, classes.cpu(), strict=True)])
        for name, classes in (("truth", truth), ("said", said))
    }  # fmt: skip
