"""Positions brought to another grid, as DETR's kin do: bicubic, without aligned corners or antialiasing."""

from torch import Tensor
from torch.nn import functional as F

from zoomexp.errors import InputError


def resampled(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A table of positions (L, rows x columns, D) on another grid, bicubic without antialiasing.

    Raises:
        InputError: a table of another size than its grid.
    """
    if table.shape[1] != old[0] * old[1]:
        raise InputError(f"host: {table.shape[1]} positions are no grid of {old[0]} x {old[1]}")
    if old == new:
        return table
    maps = table.transpose(1, 2).unflatten(2, old)
    return F.interpolate(maps, size=new, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
