"""Maps that follow their images through crop and flip."""

from torch import Tensor
from torch.nn import functional as F


def warp_maps(maps: Tensor, views: Tensor, image_size: int) -> Tensor:
    """Move maps of whole images to what a view shows of them, bilinear between cells; outside the image they are 0.

    Args:
        maps: (B, S, S), or (B, K, S, S).
        views: (B, 3, 3), from points of the whole image to points of the view, both in pixels 0..image_size.
        image_size: side of both in pixels.

    Returns:
        The same in the dtype of `views`.

    >>> import torch
    >>> mirrored = torch.tensor([[[-1.0, 0.0, 8.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> warp_maps(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), mirrored, image_size=8)
    tensor([[[2., 1.],
             [4., 3.]]])
    """
    half = image_size / 2
    to_pixels = views.new_tensor([[half, 0, half], [0, half, half], [0, 0, 1]])  # from -1..1
    to_whole = to_pixels.inverse() @ views.inverse() @ to_pixels
    grid = F.affine_grid(to_whole[:, :2], [len(maps), 1, *maps.shape[-2:]], align_corners=False)
    layers = maps.unflatten(0, (len(maps), 1)) if maps.dim() == 3 else maps
    return F.grid_sample(layers.to(views.dtype), grid, padding_mode="zeros", align_corners=False).view_as(maps)
