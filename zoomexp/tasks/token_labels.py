"""Targets of the class token and of every patch, from a teacher's labels of places (see `relevance.dense_labels`).

As the released code of LV-ViT has it. A teacher kept the k highest logits of every place of an image; the others are 0.
With the box that the training image shows of it:

    patches      softmax of RoIAlign(labels, box, S x S), in each cell; mirrored where the image is
    class token  softmax of RoIAlign(labels, box, 1 x 1)
    with truth   r times that + (1 - r) times the image's label; r = 1/2 where both name one class, 9/10 where not

Deviations: there the box lies in the whole image, and the labels are of its central square; here both are of that.
There the box's rows are taken for columns and its columns for rows; here they are not.
There labels are sheared and rotated before they are cut; here those of the upright box around what the image shows are,
which is the same but for interpolation. What is outside of the square is not known: all classes alike.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomexp.relevance.roi_align import roi_align
from zoomexp.relevance.warp_maps import warp_maps


class TokenLabels:
    """What the tokens of a batch shall say.

    Args:
        batch: `dense_labels` (B, 2, k, S, S), `view` (B, 3, 3), `image` (B, C, H, H), and, where labels count, too,
            `dense_truth` (B,) int64.
        num_classes: K.
    """

    def __init__(self, batch: Mapping[str, Tensor], num_classes: int) -> None:
        logits, classes = batch["dense_labels"].unbind(1)
        self.maps = logits.new_zeros(len(logits), num_classes, *logits.shape[2:], dtype=torch.float32)
        self.maps.scatter_(1, classes.long(), logits.float())
        self.size, self.truth = batch["image"].shape[-1], batch.get("dense_truth")
        self.box, self.rest = framed(batch["view"].float(), self.size)

    def of_image(self) -> Tensor:
        """Shares of classes (B, K)."""
        shares = self._aligned(1).flatten(1).softmax(1)
        if self.truth is None:
            return shares
        agrees = shares.argmax(1) == self.truth
        own = 0.9 - 0.4 * agrees.float()[:, None]
        return own * shares + (1 - own) * F.one_hot(self.truth, shares.shape[1])

    def of_patches(self, side: int) -> Tensor:
        """Shares of classes of side x side patches, row by row: (B, side^2, K)."""
        return warp_maps(self._aligned(side), self.rest, self.size).softmax(1).flatten(2).mT

    def _aligned(self, side: int) -> Tensor:
        """(B, K, side, side): the mean of the labels in each cell of the box."""
        return roi_align(self.maps, self.box * self.maps.shape[-1] / self.size - 0.5, side)


def framed(view: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The upright box of what a view shows, and what is left of the view once that fills the square.

    Args:
        view: (B, 3, 3), from points of the whole square to points of the view, both in pixels 0..size.
        size: of the square.

    Returns:
        (B, 4), x0, y0, x1, y1 in pixels; (B, 3, 3), the identity of a window, its mirror image of a mirrored one.

    >>> window = torch.tensor([[[-2.0, 0.0, 12.0], [0.0, 2.0, -4.0], [0.0, 0.0, 1.0]]])
    >>> framed(window, 8)
    (tensor([[2., 2., 6., 6.]]), tensor([[[-1.,  0.,  8.],
             [ 0.,  1.,  0.],
             [ 0.,  0.,  1.]]]))
    """
    corners = view.new_tensor([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]])
    seen = (corners @ view.inverse().mT)[:, :, :2]
    low, high = seen.amin(1), seen.amax(1)
    crop_back = torch.diag_embed(F.pad((high - low) / size, (0, 1), value=1.0))
    crop_back[:, :2, 2] = low
    return torch.cat([low, high], 1), view @ crop_back
