"""The pointing game on maps and boxes whose answers are known."""

import pytest
import torch

from zoomexp.metrics.localisation import PointingGame, centre_prior, hits

SIDE = 32  # cells of a 4 x 4 map are 8 pixels wide, their centres at 4, 12, 20, 28


def peak_at(row: int, col: int) -> torch.Tensor:
    heat = torch.zeros(1, 1, 4, 4)
    heat[0, 0, row, col] = 1
    return heat


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((0, 0, 32, 32), [[1] * 4] * 4),
        ((8, 0, 16, 16), [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
        ((4, 4, 12, 12), [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),  # x0 is inside, x1 is not
        ((4.5, 3.5, 12.5, 4.5), [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
        ((13, 13, 19, 19), [[0] * 4] * 4),  # between the centres
        ((12, 12, 12, 12), [[0] * 4] * 4),  # empty
    ],
)
def test_every_cell(box, inside):
    boxes = torch.tensor([box], dtype=torch.float32)
    found = [[hits(peak_at(row, col), boxes, SIDE).item() for col in range(4)] for row in range(4)]
    assert found == inside


def test_ties_count_with_the_share_inside():
    box = torch.tensor([[0.0, 0.0, 16.0, 8.0]])  # two cells of sixteen
    assert hits(torch.full((1, 1, 4, 4), 0.5), box, SIDE).item() == 2 / 16
    assert hits(peak_at(0, 1) + peak_at(3, 3) + peak_at(2, 0), box, SIDE).item() == pytest.approx(1 / 3)


def test_rows_and_columns_of_an_oblong_map():
    heat = torch.zeros(1, 1, 2, 8)
    heat[0, 0, 1, 3] = 1  # centre at x = 14, y = 24
    assert hits(heat, torch.tensor([[13.0, 23.0, 15.0, 25.0]]), SIDE).item() == 1
    assert hits(heat, torch.tensor([[23.0, 13.0, 25.0, 15.0]]), SIDE).item() == 0


def test_the_metric_is_the_mean_over_images_and_not_over_batches():
    game = PointingGame()
    left, right = torch.tensor([[0.0, 0.0, 16.0, 32.0]]), torch.tensor([[16.0, 0.0, 32.0, 32.0]])
    game.update(torch.cat([peak_at(0, 0), peak_at(1, 1), peak_at(0, 3)]), torch.cat([left] * 3), SIDE)
    game.update(peak_at(2, 1), right, SIDE)
    assert game.compute().item() == 50
    game.reset()
    game.update(peak_at(2, 2).half(), right, SIDE)
    assert game.compute().item() == 100


@pytest.mark.parametrize(("rows", "cols"), [(3, 5), (4, 4), (1, 1), (1, 6), (7, 2)])
def test_the_centre_prior_peaks_in_the_middle(rows, cols):
    heat = centre_prior(torch.zeros(2, 1, rows, cols))
    assert heat.shape == (2, 1, rows, cols)
    peaks = {tuple(cell) for cell in (heat[1, 0] == heat[1, 0].max()).nonzero().tolist()}
    middle = [{(size - 1) // 2, size // 2} for size in (rows, cols)]
    assert peaks == {(row, col) for row in middle[0] for col in middle[1]}
