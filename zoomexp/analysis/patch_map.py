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
    """Draw coarse cells in white, fine ones in yellow, and darken places that are neither.

    Args:
        picture: (3, H, W) in [0, 1].
        fine: (2n, 2n) bool.
        coarse: (n, n) bool.

    Returns:
        The picture with every pixel repeated where it has less than 448 a side, so that small cells can be seen.
    """
    side, large = fine.shape[0], enlarged(picture, 448)
    row, col = ((torch.arange(size) + 0.5) * side / size for size in large.shape[1:])
    y, x = torch.meshgrid(row.long(), col.long(), indexing="ij")
    is_fine, is_coarse = fine[y, x], coarse[y // 2, x // 2]
    drawn = torch.where(is_fine | is_coarse, large, 0.25 * large)
    small, big = y * side + x, (y // 2) * side + x // 2
    drawn = painted_over(drawn, borders(big) & is_coarse, COARSE, 0.7)
    return painted_over(drawn, borders(small) & is_fine, FINE, 0.9)


def selected(scores: Tensor, alpha: float, eta: float, coverage: str = "cell") -> tuple[Tensor, Tensor]:
    """Which fine cells (2n, 2n) and which coarse cells (n, n) are kept, bool: n = S for eta = 2, S / 2 for eta = 0.5.

    Raises:
        InputError: Another eta or coverage, scores that are not square, or an odd S for eta = 0.5.

    >>> fine, coarse = selected(torch.tensor([[0.9, 0.1], [0.2, 0.3]]), alpha=0.5, eta=2)
    >>> coarse, fine[:2].sum()
    (tensor([[False,  True],
            [ True,  True]]), tensor(4))
    """
    if eta not in (2, 0.5):
        raise InputError(f"eta={eta} is unknown; allowed: 2, 0.5")
    if coverage not in ("cell", "paper"):
        raise InputError(f"coverage={coverage} is unknown; allowed: cell, paper")
    if scores.dim() != 2 or scores.shape[0] != scores.shape[1] or (eta == 0.5 and len(scores) % 2):
        raise InputError(f"scores must be (S, S), with an even S for eta=0.5, got {tuple(scores.shape)}")
    cells = scores if eta == 2 else F.max_pool2d(scores[None], 2)[0]
    own = four_each(scores) if eta == 2 else scores
    fine = own > alpha if coverage == "paper" else four_each(cells) >= alpha
    return fine, cells < alpha


def four_each(cells: Tensor) -> Tensor:
    """Repeat every cell of (n, n) 2 x 2."""
    return cells.repeat_interleave(2, 0).repeat_interleave(2, 1)
