"""Positions of fine and coarse patches.

    learned        the host's own table, resampled to both grids as timm does for another image size
    sinusoid_1d    the released code's: one table per grid over the raster index r = 1, 2, ..., 0 for class and register
                   tokens; channels sin(r w_0), cos(r w_0), sin(r w_1), ..., with w_k = 10000^(-k / (D/2))
    sinusoid_2d    timm's 2-D table over the coarse grid; a fine patch has the coordinates of its centre in that grid,
                   so both grids agree on where a place is. Class and register tokens have none

Both sinusoids take the place of the host's learned positions, which are dropped from it.
"""

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.cells import fine_raster

KINDS = ("learned", "sinusoid_1d", "sinusoid_2d")


def sinusoid_1d(count: int, channels: int) -> Tensor:
    """The table (count, channels) of places 0..count - 1."""
    frequencies = 10000 ** (-torch.arange(channels // 2) / (channels / 2))
    angles = torch.arange(count)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def sinusoid_2d(side: int, channels: int) -> tuple[Tensor, Tensor]:
    """Tables of side x side coarse and 2 side x 2 side fine patches: (side^2, channels) and (4 side^2, channels)."""
    coarse = build_sincos2d_pos_embed([side, side], channels)
    half, frequencies = _half_steps(side), 10000 ** (-torch.arange(channels // 4) / (channels // 4))
    grid = torch.cartesian_prod(half, half)  # (row, column)
    angles = grid[:, :, None] * frequencies
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

    def __init__(self, vit: VisionTransformer, kind: str, side: int) -> None:
        super().__init__()
        self.side, channels = side, vit.embed_dim
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

    def candidates(self, vit: VisionTransformer) -> Tensor:
        """(5 side^2, D), one row per candidate."""
        if self.table is not None:
            return self.table
        fine = host.patch_positions(vit, 2 * self.side).index_select(0, self.raster)
        return torch.cat([fine, host.patch_positions(vit, self.side)])

    def prefix(self, vit: VisionTransformer, batch: int) -> Tensor:
        """The tokens before the patches, with their positions: (B, P, D)."""
        tokens = host.prefix(vit, batch)
        return tokens if self.first is None else tokens + self.first


def _half_steps(side: int) -> Tensor:
    """Centres of 2 side fine cells in units of coarse cells whose centres are 0, 1, ...: -1/4, 1/4, 3/4, ..."""
    return (torch.arange(2 * side) + 0.5) / 2 - 0.5
