"""Colours, contours and grids against values worked out by hand or by torchvision."""

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from zoomexp.analysis.overlay import contour_over, enlarged, grid_over, heat_over, highest, resized, stretched
from zoomexp.errors import InputError

BLACK = torch.zeros(3, 8, 8)


def test_maps_are_resized_as_pillow_resizes():
    heat = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    expected = np.asarray(Image.fromarray(heat.numpy()).resize((21, 20), Image.Resampling.BILINEAR))
    torch.testing.assert_close(resized(heat, 20, 21), torch.from_numpy(expected.copy()), atol=1e-5, rtol=0)


def test_the_highest_value_has_the_colour_and_the_lowest_the_picture():
    heat = torch.arange(64.0).view(8, 8) + 3
    picture = torch.rand(3, 8, 8)
    drawn = heat_over(picture, heat, opacity=1.0)
    red = torch.tensor(colormaps["turbo"](1.0)[:3], dtype=torch.float32)
    torch.testing.assert_close(drawn[:, 7, 7], red)
    assert torch.equal(drawn[:, 0, 0], picture[:, 0, 0])
    half = torch.tensor(colormaps["turbo"](32 / 63)[:3], dtype=torch.float32)
    torch.testing.assert_close(drawn[:, 4, 0], torch.lerp(picture[:, 4, 0], half, 32 / 63))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_flat_map_leaves_the_picture_as_it_is(value):
    picture, flat = torch.rand(3, 8, 8), torch.full((4, 4), value)
    assert torch.equal(heat_over(picture, flat), picture)
    assert torch.equal(contour_over(picture, flat), picture)


def test_rounding_makes_no_contours():
    picture, noise = torch.rand(3, 240, 240), 1e-7 * torch.rand(8, 8)
    assert torch.equal(contour_over(picture, 1 - noise), picture)
    assert torch.equal(heat_over(picture, 1 - noise), picture)
    plateau = torch.zeros(8, 8)
    plateau[:4, :4] = 1 - 1e-7 * torch.rand(4, 4)
    assert torch.equal(highest(plateau, 0.05), plateau > 0.5)


def test_what_was_not_seen_is_dimmed_and_in_no_contour():
    picture, heat = torch.ones(3, 8, 8), torch.arange(64.0).view(8, 8)
    heat[:, 4:] = torch.nan
    drawn = heat_over(picture, heat)
    assert torch.equal(drawn[:, :, 4:], torch.full((3, 8, 4), 0.4))
    assert not highest(heat, 0.5)[:, 4:].any()
    assert stretched(heat)[0, 0] == 0 and stretched(heat)[7, 3] == 1


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_the_highest_share_is_that_share_of_the_pixels(share):
    heat = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).view(20, 50).float()
    chosen = highest(heat, share)
    assert chosen.sum() == round(share * 1000)
    assert heat[chosen].min() > heat[~chosen].max()


def test_a_contour_goes_round_its_region():
    heat = torch.zeros(8, 8)
    heat[2:6, 3:7] = 1
    outline = contour_over(BLACK, heat, share=0.25)[1] == 1
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:6, 3:7] = True
    expected[3:5, 4:6] = False
    assert torch.equal(outline, expected)


def test_a_grid_divides_the_picture_evenly():
    lines = grid_over(torch.zeros(3, 12, 24), 4, colour=(1, 1, 1), opacity=1.0)[0] == 1
    assert lines.all(1).nonzero().flatten().tolist() == [3, 6, 9]
    assert lines.all(0).nonzero().flatten().tolist() == [6, 12, 18]
    assert lines.sum() == 3 * 24 + 3 * 12 - 9


def test_enlarged_by_the_smallest_whole_factor():
    picture = torch.rand(3, 48, 60)
    large = enlarged(picture)
    assert large.shape == (3, 240, 300) and torch.equal(large[:, 2::5, 2::5], picture)
    assert enlarged(torch.rand(3, 224, 300)).shape == (3, 224, 300)


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_that_cannot_be(share):
    with pytest.raises(InputError, match=r"share=.* is outside 0 < share < 1"):
        highest(torch.rand(4, 4), share)
