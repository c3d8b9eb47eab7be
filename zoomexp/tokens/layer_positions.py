"""Positions that are added after every block but the last: YOLOS's Type-I (table 9 of arXiv 2106.00666).

    x = block_i(x);  x = x + M_i        i = 0 .. L - 2; M: (L - 1) x (prefix and patches) x D, learned

M of the patches has a grid of its own and is resampled to that of the images, as the first positions are. A run over
ragged tokens adds them as a `reduction.Reducer` that takes nothing away: before block i + 1, which is after block i.
"""

import torch
from torch import Tensor, nn

from zoomexp.tokens.detection_tokens import SPREAD
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.resampling import resampled


class LayerPositions(nn.Module):
    """The learned table.

    Args:
        layers: blocks of the host, less one.
        prefix: tokens before the patches.
        grid: rows and columns of patches.
        width: D.
    """

    def __init__(self, layers: int, prefix: int, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        self.prefix, self.grid = prefix, grid
        self.table = nn.Parameter(torch.empty(layers, prefix + grid[0] * grid[1], width))
        nn.init.trunc_normal_(self.table, std=SPREAD)

    def of_prefix(self) -> Tensor:
        """(L - 1, P, D)."""
        return self.table[:, : self.prefix]

    def of_grid(self, grid: tuple[int, int]) -> Tensor:
        """Those of the patches, (L - 1, rows x columns, D)."""
        return resampled(self.table[:, self.prefix :], self.grid, grid)


class Adding:
    """The reducer of one forward, which reduces nothing.

    Args:
        table: (L - 1, R, D).
        rows: (T,) int64 in 0 .. R - 1, which row each token has.
    """

    log_sizes = None

    def __init__(self, table: Tensor, rows: Tensor) -> None:
        self.table, self.rows = table, rows

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Add M_(i-1)."""
        if i == 0:
            return tokens
        return tokens.with_values(tokens.values + self.table[i - 1].index_select(0, self.rows))

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Nothing changes."""
        return tokens
