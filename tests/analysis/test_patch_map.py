"""Which patches are drawn, cell by cell, and that they are drawn where they are."""

import pytest
import torch

from zoomexp.analysis.patch_map import COARSE, FINE, cells_on, patch_map, selected
from zoomexp.errors import InputError

SCORES = torch.tensor([[0.9, 0.1, 0.5, 0.2], [0.3, 0.2, 0.1, 0.4], [0.0, 0.1, 0.8, 0.7], [0.2, 0.3, 0.6, 0.9]])


def test_eta_2_zooms_single_patches():
    fine, coarse = selected(SCORES, alpha=0.5, eta=2)
    zoomed = SCORES >= 0.5
    assert torch.equal(coarse, ~zoomed)
    assert torch.equal(fine, torch.kron(zoomed.int(), torch.ones(2, 2, dtype=torch.int32)).bool())


def test_eta_half_zooms_two_by_two():
    fine, coarse = selected(SCORES, alpha=0.55, eta=0.5)
    assert coarse.tolist() == [[False, True], [True, False]]
    assert fine.tolist() == [[True, True, False, False]] * 2 + [[False, False, True, True]] * 2


def test_the_papers_coverage_has_holes():
    fine, coarse = selected(SCORES, alpha=0.65, eta=0.5, coverage="paper")
    assert coarse.tolist() == [[False, True], [True, False]]
    assert torch.equal(fine, SCORES > 0.65)
    tied, rest = selected(SCORES, alpha=0.5, eta=2, coverage="paper")
    assert not tied[0:2, 4:6].any() and not rest[0, 2]  # a tie is neither
    assert tied[:2, :2].all() and rest[0, 1]


@pytest.mark.parametrize(("eta", "patch"), [(2, 16), (0.5, 32)])
def test_cells_are_drawn_with_their_size_in_pixels(eta, patch):
    scores = torch.zeros(14, 14)
    scores[4, 6] = 1
    drawn = patch_map(torch.zeros(3, 224, 224), scores, alpha=0.5, eta=eta)
    assert drawn.shape == (3, 448, 448)
    white = torch.isclose(drawn, 0.7 * torch.tensor(COARSE)[:, None, None]).all(0)
    yellow = torch.isclose(drawn, 0.9 * torch.tensor(FINE)[:, None, None]).all(0)
    left, top = 2 * patch * (6 * 16 // patch), 2 * patch * (4 * 16 // patch)  # the zoomed cell's corner
    rows, cols = (list(range(0, 2 * patch, patch)), list(range(0, 2 * patch, patch)))
    assert yellow[top:, left:][: 2 * patch, : 2 * patch].all(1).nonzero().flatten().tolist() == rows
    assert yellow[top:, left:][: 2 * patch, : 2 * patch].all(0).nonzero().flatten().tolist() == cols
    assert not yellow[:top].any() and not yellow[top + 2 * patch :].any()
    assert white[447].nonzero().flatten().tolist() == list(range(2 * patch, 448, 2 * patch))
    assert not white[top : top + 2 * patch, left : left + 2 * patch].any()


def test_grids_of_rows_and_columns():
    fine, coarse = torch.zeros(4, 6, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    fine[2:, 4:], coarse[1, 2] = True, False
    drawn = cells_on(torch.zeros(3, 80, 120), fine, coarse)
    yellow = torch.isclose(drawn, 0.9 * torch.tensor(FINE)[:, None, None]).all(0)
    white = torch.isclose(drawn, 0.7 * torch.tensor(COARSE)[:, None, None]).all(0)
    assert yellow[70].nonzero().flatten().tolist() == [80, 100] and yellow[:, 110].nonzero().flatten().tolist() == [
        40,
        60,
    ]
    assert white[10].nonzero().flatten().tolist() == [40, 80] and white[:, 10].nonzero().flatten().tolist() == [40]


def test_lost_places_are_dark():
    drawn = patch_map(torch.ones(3, 448, 448), SCORES, alpha=0.65, eta=0.5, coverage="paper")
    assert torch.equal(drawn[:, 130:200, 10:100], torch.full((3, 70, 90), 0.25))
    assert drawn[:, 10:100, 10:100].min() == 1


@pytest.mark.parametrize(
    ("options", "scores", "named"),
    [({"eta": 3}, SCORES, "eta=3"), ({"eta": 2, "coverage": "all"}, SCORES, "coverage=all"),
     ({"eta": 0.5}, SCORES[:3], "even for eta=0.5"), ({"eta": 2}, SCORES[None], r"\(R, C\)")],
)  # fmt: skip
def test_what_cannot_be(options, scores, named):
    with pytest.raises(InputError, match=named):
        selected(scores, alpha=0.5, **options)
