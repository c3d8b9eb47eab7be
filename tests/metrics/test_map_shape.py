"""Entropy, Gini coefficient and regions of maps against scipy, all pairs of cells, and a flood fill."""

import math

import pytest
import torch
from scipy import stats

from zoomexp.metrics.map_shape import entropy, gini, regions


def cases() -> torch.Tensor:
    return torch.rand(20, 1, 5, 7, generator=torch.Generator().manual_seed(0)) ** 4


def test_entropy_is_that_of_the_shares():
    expected = [stats.entropy(heat.flatten().double().numpy()) / math.log(35) for heat in cases()]
    torch.testing.assert_close(entropy(cases()), torch.tensor(expected, dtype=torch.float32))


def test_gini_is_the_mean_difference_of_all_pairs():
    cells = cases().flatten(1).double()
    pairs = (cells[:, :, None] - cells[:, None, :]).abs().mean((1, 2))
    torch.testing.assert_close(gini(cases()), (pairs / (2 * cells.mean(1))).float())


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_flat_map(value):
    flat = torch.full((2, 1, 3, 4), value)
    torch.testing.assert_close(entropy(flat), torch.ones(2))
    torch.testing.assert_close(gini(flat), torch.zeros(2))
    assert [values.tolist() for values in regions(flat)] == [[1, 1], [1, 1]]


def test_one_cell_with_everything():
    heat = torch.zeros(1, 1, 3, 4)
    heat[0, 0, 1, 2] = 5
    assert entropy(heat).item() == 0
    assert gini(heat).item() == pytest.approx(11 / 12)
    assert [values.item() for values in regions(heat, share=0.01)] == [1, pytest.approx(1 / 12)]


def test_a_map_of_one_cell_is_flat():
    one = torch.ones(3, 1, 1, 1)
    assert entropy(one).tolist() == [1, 1, 1]
    assert gini(one).tolist() == [0, 0, 0]
    assert [values.tolist() for values in regions(one)] == [[1, 1, 1], [1, 1, 1]]


def test_scale_does_not_matter():
    for score in (entropy, gini):
        torch.testing.assert_close(score(cases() * 1000), score(cases()))


def flood(chosen: set[tuple[int, int]]) -> list[int]:
    """Sizes of the regions of cells that share sides."""
    sizes, left = [], set(chosen)
    while left:
        front, size = [left.pop()], 0
        while front:
            row, col = front.pop()
            size += 1
            near = {(row + 1, col), (row - 1, col), (row, col + 1), (row, col - 1)} & left
            left -= near
            front += near
        sizes.append(size)
    return sizes


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 1.0])
def test_regions_are_those_that_a_flood_finds(share):
    number, size = regions(cases(), share)
    for heat, found, mean in zip(cases()[:, 0], number, size, strict=True):
        highest = heat.flatten().sort(descending=True).values[: round(share * 35)]
        sizes = flood({tuple(cell) for cell in (heat >= highest[-1]).nonzero().tolist()})
        assert (found.item(), mean.item()) == (len(sizes), pytest.approx(sum(sizes) / len(sizes) / 35))


def test_cells_that_touch_at_a_corner_are_two_regions():
    assert [values.item() for values in regions(torch.eye(2)[None, None], share=0.5)] == [2, 0.25]


def test_ties_with_the_lowest_of_the_highest_join_in():
    heat = torch.tensor([[[[3.0, 2.0, 2.0, 2.0, 0.0]]]])
    assert [values.item() for values in regions(heat, share=0.4)] == [1, pytest.approx(0.8)]
