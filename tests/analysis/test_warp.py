"""The saliency warp against its sums written out, and its properties."""

import pytest
import torch

from zoomexp.analysis.overlay import grid_over
from zoomexp.analysis.warp import CELLS, sampling, warped
from zoomexp.errors import InputError


def identity(height: int, width: int) -> torch.Tensor:
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


@pytest.mark.parametrize("heat", [torch.full((5, 5), 0.3), torch.zeros(3, 4)])
@pytest.mark.parametrize("size", [(32, 32), (20, 30)])
def test_a_flat_map_moves_nothing(heat, size):
    torch.testing.assert_close(sampling(heat, *size), identity(*size), atol=2e-4, rtol=0)
    picture = torch.rand(3, *size)
    torch.testing.assert_close(warped(picture, heat, cells=0), picture, atol=0.02, rtol=0)


@pytest.mark.parametrize(("sigma", "even"), [(1 / 6, 0.5), (1 / 3, 0.0)])
def test_the_sums_written_out(sigma, even):
    heat = torch.rand(CELLS, CELLS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sampling(heat, 6, 8, sigma, even)
    edge = int(4 * sigma * CELLS) + 1
    mean = heat.mean()
    cell = torch.arange(-edge, CELLS + edge)
    inner = cell.clamp(0, CELLS - 1)
    saliency = even + (1 - even) * heat[inner][:, inner] / mean
    places = (cell.double() + 0.5) / CELLS
    for row, col in ((0, 0), (2, 5), (5, 7), (3, 1)):
        x, y = (col + 0.5) / 8, (row + 0.5) / 6
        distance = (places[None, :] - x) ** 2 + (places[:, None] - y) ** 2
        weight = saliency * torch.exp(-distance / (2 * sigma**2))
        u = (weight * places[None, :]).sum() / weight.sum()
        v = (weight * places[:, None]).sum() / weight.sum()
        expected = torch.stack([u, v]).clamp(0, 1).float()
        torch.testing.assert_close(found[row, col], expected, atol=2e-3, rtol=0)


def test_the_important_place_is_enlarged_and_the_rest_squeezed():
    heat = torch.zeros(16, 16)
    heat[4:7, 8:11] = 1
    sources = sampling(heat, 64, 64)
    steps = (sources[1:, :-1, 1] - sources[:-1, :-1, 1]) * (sources[:-1, 1:, 0] - sources[:-1, :-1, 0]) * 64**2
    peak = (sources - torch.tensor([9.5, 5.5]) / 16).norm(dim=-1).argmin()
    assert steps[peak // 64, peak % 64] < 0.6  # less of the image to a pixel
    assert steps.max() > 1.3
    assert (sources[:, 1:, 0] >= sources[:, :-1, 0]).all() and (sources[1:, :, 1] >= sources[:-1, :, 1]).all()


def test_evenness_calms_the_warp():
    heat = torch.zeros(8, 8)
    heat[1, 6] = 1
    shift = [(sampling(heat, 32, 32, even=even) - identity(32, 32)).abs().mean() for even in (0.0, 0.5, 0.9, 1.0)]
    assert shift[0] > shift[1] > shift[2] > shift[3] and shift[3] < 2e-4


def test_the_grid_is_the_regular_one_where_nothing_moves():
    flat, picture = torch.ones(4, 4), torch.zeros(3, 60, 60)
    assert (warped(picture, flat, cells=6) != grid_over(picture, 6)).float().mean() < 0.04


@pytest.mark.parametrize(("sigma", "even", "named"), [(0, 0.5, "sigma=0"), (0.2, 1.5, "even=1.5")])
def test_values_that_cannot_be(sigma, even, named):
    with pytest.raises(InputError, match=named):
        sampling(torch.rand(4, 4), 8, 8, sigma, even)
