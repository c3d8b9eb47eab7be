"""A centre for each class, which the vectors of its images are drawn to and which follows them.

    loss = sum ||f - n(c_y)||^2 / B                        n(c) = c / ||c||, n(0) = 0
    then c_y <- c_y + r sum_(images of y) (f - n(c_y))

Centres start at 0. As in CAL's released code (see `cal`), but for three things that get lost there: the centres are a
buffer, so they are saved and taken up again with the weights; where a class has several images in a batch all of them
count, and not one; and processes that share a run keep the same centres, moved by the images of all.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.losses.all_processes import of_all


class ClassCentres(nn.Module):
    """The centres, and the loss that draws to them.

    Args:
        num_classes: K.
        width: length of the vectors.
        rate: r.
    """

    values: Tensor

    def __init__(self, num_classes: int, width: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("values", torch.zeros(num_classes, width))

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """The loss of vectors (B, width) with labels (B,) int64, a scalar; then the centres move."""
        away = vectors - F.normalize(self.values[labels], dim=1).to(vectors.dtype)
        steps = torch.zeros_like(self.values).index_add_(0, labels, away.detach().to(self.values.dtype))
        self.values.add_(of_all(steps), alpha=self.rate)
        return away.square().sum() / len(vectors)
