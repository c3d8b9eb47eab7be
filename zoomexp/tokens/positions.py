"""Positions of fine and coarse patches.

    learned        the host's own table, resampled to both grids as timm does for another image size
    sinusoid_1d    the released code's: one table per grid over the raster index r = 1, 2, ..., 0 for class and register
                   tokens; channels sin(r w_0), cos(r w_0), sin(r w_1), ..., with w_k = 10000^(-k / (D/2))
    sinusoid_2d    timm's 2-D table over the coarse grid; a fine patch has the coordinates of its centre in that grid,
                   so both grids agree on where a place is. Class and register tokens have none

In another grid than they were made for, the tables of sinusoid_1d are resampled bicubically: a raster index has no
meaning there. Both sinusoids take the place of the host's learned positions, which are dropped from it.
"""

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.cells import Grid, fine_raster, rows_columns
from zoomexp.tokens.resampling import resampled

KINDS = ("learned", "sinusoid_1d", "sinusoid_2d")


def sinusoid_1d(count: int, channels: int) -> Tensor:
    """The table (count, channels) of places 0..count - 1."""
    frequencies = 10000 ** (-torch.arange(channels // 2) / (channels / 2))
    angles = torch.arange(count)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def sinusoid_2d(grid: Grid, channels: int) -> tuple[Tensor, Tensor]:
    """Tables of n coarse and 4 n fine patches, for a grid of n cells: (n, channels) and (4 n, channels)."""
    rows, columns = rows_columns(grid)
    coarse = build_sincos2d_pos_embed([rows, columns], channels)
    frequencies = 10000 ** (-torch.arange(channels // 4) / (channels // 4))
    places = torch.cartesian_prod(_half_steps(rows), _half_steps(columns))  # (row, column)
    angles = places[:, :, None] * frequencies
    return coarse, torch.stack([angles.sin(), angles.cos()], 1).flatten(1)


class Positions(nn.Module):
    """Position vectors of all candidates (see `cells`).

    Args:
        vit: the host; loses its learned positions unless `kind` is "learned".
        kind: "learned", "sinusoid_1d" or "sinusoid_2d".
        side: cells a side.

    Raises:
        InputError: learned positions of a host that has none, or a width that the sinusoids cannot fill.
    """

    raster: Tensor
    table: Tensor | None
    first: Tensor | None

    def __init__(self, vit: VisionTransformer, kind: str, side: int) -> None:
        super().__init__()
        self.side, self.kind, channels = side, kind, vit.embed_dim
        self.register_buffer("raster", fine_raster(side), persistent=False)
        self.register_buffer("table", None, persistent=False)
        self.register_buffer("first", None, persistent=False)
        if kind == "learned":
            if vit.pos_embed is None:
                raise InputError("tokens.positions=learned: the host has none; allowed: sinusoid_1d, sinusoid_2d")
            return
        divisor = 2 if kind == "sinusoid_1d" else 4
        if channels % divisor:
            raise InputError(f"tokens.positions={kind}: the host's width must divide by {divisor}, got {channels}")
        vit.pos_embed = None
        if kind == "sinusoid_1d":
            coarse, fine = sinusoid_1d(side**2 + 1, channels), sinusoid_1d(4 * side**2 + 1, channels)
            self.first, coarse, fine = coarse[:1].clone(), coarse[1:], fine[1:]
        else:
            coarse, fine = sinusoid_2d(side, channels)
        self.table = torch.cat([fine[self.raster], coarse])

    def candidates(self, vit: VisionTransformer, grid: tuple[int, int] | None = None) -> Tensor:
        """One row per candidate, (5 n, D), of a grid of n cells (rows, columns); None: that of the constructor."""
        if grid is not None and grid != (self.side, self.side):
            return self._elsewhere(vit, grid)
        if self.table is not None:
            return self.table
        fine = host.patch_positions(vit, 2 * self.side).index_select(0, self.raster)
        return torch.cat([fine, host.patch_positions(vit, self.side)])

    def _elsewhere(self, vit: VisionTransformer, grid: tuple[int, int]) -> Tensor:
        """The candidates of another grid."""
        raster, finer = fine_raster(grid).to(self.raster.device), (2 * grid[0], 2 * grid[1])
        if self.table is None:
            fine, coarse = (host.patch_positions(vit, one) for one in (finer, grid))
        elif self.kind == "sinusoid_2d":
            coarse, fine = (table.to(self.table) for table in sinusoid_2d(grid, self.table.shape[1]))
        else:
            own, side = 4 * self.side**2, self.side
            fine = torch.empty_like(self.table[:own]).index_copy_(0, self.raster, self.table[:own])
            fine = resampled(fine[None], (2 * side, 2 * side), finer)[0]
            coarse = resampled(self.table[None, own:], (side, side), grid)[0]
        return torch.cat([fine.index_select(0, raster), coarse])

    def prefix(self, vit: VisionTransformer, batch: int) -> Tensor:
        """The tokens before the patches, with their positions: (B, P, D)."""
        tokens = host.prefix(vit, batch)
        return tokens if self.first is None else tokens + self.first


def _half_steps(side: int) -> Tensor:
    """Centres of 2 side fine cells in units of coarse cells whose centres are 0, 1, ...: -1/4, 1/4, 3/4, ..."""
    return (torch.arange(2 * side) + 0.5) / 2 - 0.5
