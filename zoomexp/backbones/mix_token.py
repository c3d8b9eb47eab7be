"""MixToken: images mixed in pairs after the stem, so that no patch is made of pixels of two of them.

"All Tokens Matter: Token Labeling for Training Better Vision Transformers" (Jiang et al., NeurIPS 2021, arXiv
2104.10858), as its released code has it. In training, of a batch of images on a grid of h x w patches:

    l        from Beta(1, 1)
    box      int(h sqrt(1 - l)) // 2 rows to either side of a row drawn evenly, columns alike, cut off at the border
    patches  inside of it those of the partner, as far from the end of the batch as the image from its beginning
    class    y = (1 - a) y_i + a y_j of image i and partner j, a the share of the patches that are in the box

What the network says of single patches is swapped back, so that each learns of the image that it is of.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

Box = tuple[int, int, int, int]  # rows from and to, columns from and to


class MixToken(nn.Module):
    """Mixes what stems make of images, (B, D, h, w), in training; draws from numpy's global generator.

    After each forward: `box`, None if nothing was mixed, and the `grid` it lies on.
    """

    box: Box | None = None
    grid: Sequence[int] = (1, 1)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # or draws would be the compiler's
    def forward(self, x: Tensor) -> Tensor:
        """Patches (B, D, h, w), of the same shape."""
        self.grid, self.box = x.shape[2:], None
        if not self.training:
            return x
        self.box = drawn_box(*self.grid)
        return swapped(x, self.box)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def undone(self, patches: Tensor) -> Tensor:
        """What was said of all patches of the last forward, (B, h w, K), with its own in each image's places."""
        if self.box is None:
            return patches
        return swapped(patches.mT.unflatten(2, self.grid), self.box).flatten(2).mT

    @property
    def share(self) -> float:
        """The share of an image's patches that were its partner's in the last forward."""
        if self.box is None:
            return 0.0
        top, bottom, left, right = self.box
        return (bottom - top) * (right - left) / (self.grid[0] * self.grid[1])


def drawn_box(rows: int, columns: int) -> Box:
    """A box on a grid; timm's, which the released code had from it, is now a row and a column larger half the time."""
    side = (1 - np.random.beta(1.0, 1.0)) ** 0.5
    top, bottom = _around(np.random.randint(rows), int(rows * side) // 2, rows)
    left, right = _around(np.random.randint(columns), int(columns * side) // 2, columns)
    return top, bottom, left, right


def _around(middle: int, half: int, size: int) -> tuple[int, int]:
    return max(middle - half, 0), min(middle + half, size)


def swapped(x: Tensor, box: Box) -> Tensor:
    """Images x (B, D, h, w) with what x.flip(0) has inside of the box; doing it twice changes nothing.

    >>> swapped(torch.arange(4.0).view(2, 1, 1, 2), (0, 1, 1, 2)).flatten(1).tolist()
    [[0.0, 3.0], [2.0, 1.0]]
    """
    top, bottom, left, right = box
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = x.flip(0)[:, :, top:bottom, left:right]
    return mixed
