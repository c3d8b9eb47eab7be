"""The objects themselves: an oracle for a detector's tokens, which knows in training and test where everything is."""

import torch
from torch import Tensor, nn

from zoomexp.errors import InputError
from zoomexp.tokens.scorers.grid import patches_per_side


class Boxes(nn.Module):
    """1 for a patch whose centre is in an object's box, or that holds the centre of one; 0 elsewhere.

    Images may have any size.

    Args:
        image_size: side of the images that the host was made for.
        patch_size: side of the host's patches.

    Raises:
        InputError: No boxes are given, or the sides do not divide.

    >>> scorer = Boxes(image_size=16, patch_size=8)
    >>> scorer(torch.zeros(1, 3, 16, 24), truth=torch.tensor([[[9.0, 1, 23, 11], [0, 0, 0, 0]]]))
    tensor([[[0., 1., 1.],
             [0., 0., 0.]]])
    """

    needs_boxes = True

    def __init__(self, *, image_size: int, patch_size: int) -> None:
        super().__init__()
        patches_per_side(image_size, patch_size)
        self.patch_size = patch_size

    def forward(self, images: Tensor, maps: Tensor | None = None, truth: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W), boxes `truth` (B, M, 4) in their pixels, no box where none has area: (B, R, C)."""
        if truth is None:
            raise InputError("tokens.scorer=boxes: needs the images' boxes; it goes with task=detection")
        y, x = ((torch.arange(side // self.patch_size, device=images.device) + 0.5) * self.patch_size
                for side in images.shape[2:])  # fmt: skip
        x0, y0, x1, y1 = truth.to(images)[..., None, None].unbind(2)
        there = (x1 > x0) & (y1 > y0)
        inside = (x >= x0) & (x < x1) & (y[:, None] >= y0) & (y[:, None] < y1)
        half = self.patch_size / 2
        centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
        holds = ((centre_x - x).abs() <= half) & ((centre_y - y[:, None]).abs() <= half)
        return (there & (inside | holds)).any(1).float()
