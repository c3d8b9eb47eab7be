"""Pixels of chosen patches, and their embedding by the host's own layer: only what becomes a token is ever embedded.

The released code embeds both grids completely, then selects, and shows a fine patch of eta = 2 to the host's layer
enlarged 2 x 2. Here chosen patches are cut out and multiplied with the layer's flattened kernel in one product. An
enlarged patch repeats every pixel 2 x 2, so its product is that of the patch as it is with the kernel summed over
2 x 2: the same numbers from a quarter of the multiplications.
"""

import torch
from timm.layers import PatchEmbed
from torch import Tensor
from torch.nn import functional as F

from zoomexp.tokens.cells import Grid, rows_columns


def halved(images: Tensor) -> Tensor:
    """Images (B, C, H, W) at half their size, (B, C, H/2, W/2): the coarse grid of eta = 0.5 is cut from them.

    At exactly one half, bilinear interpolation (without aligned corners) is the mean of 2 x 2 pixels, which two
    additions give several times faster.
    """
    rows = images[:, :, ::2] + images[:, :, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]) * 0.25


def patches_at(images: Tensor, grid: Grid, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Patches of images divided into a grid of squares.

    Args:
        images: (B, C, H, W), multiples of rows and columns; fastest in channels_last format, as they are loaded.
        grid: rows and columns of patches, or one number for both.
        image: (T,) int64, the number of the image each patch is of.
        row: (T,) int64 in 0..rows - 1.
        column: (T,) int64 in 0..columns - 1.

    Returns:
        (T, h, h, C), h = H / rows = W / columns.
    """
    channels, height = images.shape[1:3]
    rows, columns = rows_columns(grid)
    size = height // rows
    lines = images.permute(0, 2, 3, 1).reshape(-1, size * channels)  # one line of one patch each: copied whole
    top = (image * height + row * size) * columns + column
    index = top[:, None] + columns * torch.arange(size, device=top.device)
    return lines.index_select(0, index.flatten()).view(-1, size, size, channels)


def embed_patches(layer: PatchEmbed, patches: Tensor) -> Tensor:
    """The layer's output for single patches.

    Args:
        layer: the host's patch embedding, patches of p x p pixels.
        patches: (T, p, p, C), or (T, p/2, p/2, C), each of which stands for itself enlarged 2 x 2 (nearest).

    Returns:
        (T, D), with the layer's norm.
    """
    kernel = layer.proj.weight.permute(0, 2, 3, 1)  # (D, p, p, C)
    if patches.shape[1] != kernel.shape[1]:
        kernel = kernel.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).sum((2, 4))
    tokens: Tensor = layer.norm(F.linear(patches.flatten(1), kernel.flatten(1), layer.proj.bias))
    return tokens


def scattered(parts: list[tuple[Tensor, Tensor]], rows: int) -> Tensor:
    """Tokens put in their places.

    Args:
        parts: pairs of places (T_i,) int64 and tokens (T_i, D); places differ.
        rows: number of rows; those that no token takes are 0.

    Returns:
        (rows, D).
    """
    kind = torch.promote_types(parts[0][1].dtype, parts[-1][1].dtype)
    values = parts[0][1].new_zeros(rows, parts[0][1].shape[1], dtype=kind)
    for places, tokens in parts:
        values = values.index_copy_(0, places, tokens.to(kind))
    return values
