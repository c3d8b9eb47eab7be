"""The two grids of ZoomViT and the scores on them.

A coarse patch is a cell; zoomed, its 2 x 2 fine patches take its place. With S patches a side in the host's own grid:

    eta = 2     n = S^2 cells        a fine patch shows 1/4 of a host patch, enlarged; it has its cell's score
    eta = 0.5   n = (S/2)^2 cells    a fine patch is a host patch with its own score; a cell has the largest of its four

Grids may have fewer rows than columns, or more: R x C patches then instead of S x S, and all else alike.

Candidates are numbered: fine patch j = 0..3 (row by row) of cell i (row by row) is 4 i + j, the coarse patch 4 n + i.
So a stable sort leaves the four fine patches of a cell beside each other where their scores agree.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ETAS = (0.5, 2)
Grid = int | tuple[int, int]  # rows and columns, or one number for both


class CellScores(NamedTuple):
    """Scores in [0, 1] by cell: `coarse` (B, n), `fine` (B, n, 4)."""

    coarse: Tensor
    fine: Tensor


def rows_columns(grid: Grid) -> tuple[int, int]:
    """Rows and columns of a grid.

    >>> rows_columns(3), rows_columns((2, 3))
    ((3, 3), (2, 3))
    """
    return (grid, grid) if isinstance(grid, int) else grid


def cells_per_side(patches: int, eta: float) -> int:
    """How many cells a side has, of the host's `patches`."""
    return patches if eta == 2 else patches // 2


def cell_scores(scores: Tensor, eta: float) -> CellScores:
    """The scorer's map (B, S, S), or (B, R, C), on both grids.

    >>> cell_scores(torch.tensor([[[0.1, 0.2], [0.4, 0.3]]]), 0.5)
    CellScores(coarse=tensor([[0.4000]]), fine=tensor([[[0.1000, 0.2000, 0.4000, 0.3000]]]))
    """
    if eta == 2:
        coarse = scores.flatten(1)
        return CellScores(coarse, coarse[:, :, None].expand(-1, -1, 4))
    rows, columns = scores.shape[1] // 2, scores.shape[2] // 2
    by_cell = scores.unflatten(2, (columns, 2)).unflatten(1, (rows, 2)).transpose(2, 3)
    fine = by_cell.reshape(len(scores), rows * columns, 4)
    return CellScores(fine.amax(2), fine)


def fine_place(candidate: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Row and column, in the grid of twice as many rows and columns of fine patches, of fine candidates (T,)."""
    columns = rows_columns(grid)[1]
    cell, child = candidate // 4, candidate % 4
    return cell // columns * 2 + child // 2, cell % columns * 2 + child % 2


def coarse_place(candidate: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Row and column, in the grid of cells, of coarse candidates (T,)."""
    rows, columns = rows_columns(grid)
    cell = candidate - 4 * rows * columns
    return cell // columns, cell % columns


def fine_raster(grid: Grid) -> Tensor:
    """The raster index of each fine candidate of n cells, (4 n,) int64.

    >>> fine_raster(2).tolist()
    [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    """
    rows, columns = rows_columns(grid)
    row, column = fine_place(torch.arange(4 * rows * columns), grid)
    return row * 2 * columns + column
