"""ZoomViT's score map and patch map ("Vision Transformers Need Zoomer", ICLR 2026 submission 6623, figures 4, 14, 15).

An image is cut into coarse cells, and a cell is cut into 2 x 2 fine ones where it deserves a closer look. With p the
patch size and S x S the Zoomer's scores, one per patch:

    eta = 2      coarse p, fine p / 2; a cell's score is its patch's
    eta = 0.5    coarse 2 p, fine p; a cell's score is the highest of its four patches'

    coverage="cell"    zoomed where the cell's score >= alpha, with all four fine cells
    coverage="paper"   fine where its own score > alpha, coarse where the cell's score < alpha: what is neither is lost
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomexp.analysis.overlay import borders, enlarged, heat_over, painted_over
from zoomexp.errors import InputError

COARSE, FINE = (1.0, 1.0, 1.0), (1.0, 0.9, 0.1)


def score_map(picture: Tensor, scores: Tensor) -> Tensor:
    """Lay scores (S, S) over a picture (3, H, W) in the paper's colours."""
    return heat_over(picture, scores, colours="jet")


def patch_map(picture: Tensor, scores: Tensor, alpha: float, eta: float, coverage: str = "cell") -> Tensor:
    """Draw the patches that are made of an image, as `cells_over` does.

    Args:
        picture: (3, H, W) in [0, 1].
        scores: (S, S) in [0, 1].
        alpha: Threshold on the scores.
        eta: 2 or 0.5.
        coverage: "cell" or "paper".

    Raises:
        InputError: See `selected`.
    """
    return cells_over(picture, *selected(scores, alpha, eta, coverage))


def cells_over(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    """Draw cells as `cells_on` does on a picture with every pixel repeated where it has less than 448 a side.

    So small cells can be seen.
    """
    return cells_on(enlarged(picture, 448), fine, coarse)


def cells_on(picture: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
    """Draw coarse cells in white, fine ones in yellow, and darken places that are neither.

    Args:
        picture: (3, H, W) in [0, 1].
        fine: (2r, 2c) bool.
        coarse: (r, c) bool.
    """
    columns = fine.shape[1]
    row, col = ((torch.arange(size) + 0.5) * of / size for size, of in zip(picture.shape[1:], fine.shape, strict=True))
    y, x = torch.meshgrid(row.long(), col.long(), indexing="ij")
    is_fine, is_coarse = fine[y, x], coarse[y // 2, x // 2]
    drawn = torch.where(is_fine | is_coarse, picture, 0.25 * picture)
    small, big = y * columns + x, (y // 2) * columns + x // 2
    drawn = painted_over(drawn, borders(big) & is_coarse, COARSE, 0.7)
    return painted_over(drawn, borders(small) & is_fine, FINE, 0.9)


def selected(scores: Tensor, alpha: float, eta: float, coverage: str = "cell") -> tuple[Tensor, Tensor]:
    """Which fine cells (2r, 2c) and which coarse cells (r, c) are kept, bool, for scores (R, C).

    There are as many cells as scores for eta = 2, and half as many a side for eta = 0.5.

    Raises:
        InputError: Another eta or coverage, scores of no grid, or an odd side for eta = 0.5.

    >>> fine, coarse = selected(torch.tensor([[0.9, 0.1], [0.2, 0.3]]), alpha=0.5, eta=2)
    >>> coarse, fine[:2].sum()
    (tensor([[False,  True],
            [ True,  True]]), tensor(4))
    """
    if eta not in (2, 0.5):
        raise InputError(f"eta={eta} is unknown; allowed: 2, 0.5")
    if coverage not in ("cell", "paper"):
        raise InputError(f"coverage={coverage} is unknown; allowed: cell, paper")
    if scores.dim() != 2 or (eta == 0.5 and any(side % 2 for side in scores.shape)):
        raise InputError(f"scores must be (R, C), even for eta=0.5, got {tuple(scores.shape)}")
    cells = scores if eta == 2 else F.max_pool2d(scores[None], 2)[0]
    own = four_each(scores) if eta == 2 else scores
    fine = own > alpha if coverage == "paper" else four_each(cells) >= alpha
    return fine, cells < alpha


def four_each(cells: Tensor) -> Tensor:
    """Repeat every cell of (n, n) 2 x 2."""
    return cells.repeat_interleave(2, 0).repeat_interleave(2, 1)
