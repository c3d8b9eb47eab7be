"""What lies in a box, a mask or a disc, cell by cell: by counting on paper, and by boxes that are masks."""

import math

import pytest
import torch

from zoomexp.metrics.localisation import energy, overlap, pointing
from zoomexp.metrics.targets import box_target, mask_target, part_target


def mask_of(*rows: str) -> torch.Tensor:
    """A mask (1, H, W) as it is drawn: # is the object."""
    return torch.tensor([[[cell == "#" for cell in row] for row in rows]])


def test_a_mask_by_hand():
    mask = mask_of("##..", "##..", "#...", "....")
    target = mask_target(mask, (2, 2))
    assert target.covered.tolist() == [[[[1.0, 0.0], [0.25, 0.0]]]]
    # Centres lie at 1 and 3, on the edges of pixels 0 and 1: the pixel that begins there counts.
    assert target.inside.tolist() == [[[[True, False], [False, False]]]]
    heat = torch.tensor([[[[1.0, 2.0], [5.0, 0.0]]]])
    assert pointing(heat, target).tolist() == [0.0]
    assert energy(heat, target).item() == pytest.approx((1 * 1 + 5 * 0.25) / 8)
    # Cells by value: 5 alone has 0.25 of 1.25 + 1 - 0.25; with 2 still 0.25; with 1 it is 1.25 of 3.
    assert overlap(heat, target).item() == pytest.approx(1.25 / 3)


def test_cells_that_cut_pixels():
    target = mask_target(mask_of("#..", "#..", "..#"), (2, 2))
    # A cell is 1.5 x 1.5 pixels: the first holds all of two rows' first pixels but half of the second's.
    expected = torch.tensor([[[[1.5, 0.0], [0.5, 1.0]]]]) / 2.25
    torch.testing.assert_close(target.covered, expected)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (7, 2), (1, 1), (16, 16)])
@pytest.mark.parametrize("box", [(2, 3, 11, 9), (0, 0, 16, 12), (5, 1, 6, 12)])
def test_a_box_of_whole_pixels_is_a_mask(grid, box):
    x0, y0, x1, y1 = box
    mask = torch.zeros(1, 12, 16, dtype=torch.bool)
    mask[0, y0:y1, x0:x1] = True
    from_mask = mask_target(mask, grid)
    from_box = box_target(torch.tensor([box], dtype=torch.float32), grid, (12, 16))
    torch.testing.assert_close(from_mask.covered, from_box.covered)
    assert torch.equal(from_mask.inside, from_box.inside)


def test_parts_by_hand():
    parts = torch.tensor([[[10.0, 6.0, 1.0], [30.0, 30.0, 0.0], [26.0, 20.0, 1.0]]])
    target = part_target(parts, (4, 4), 32, radius=0.125)  # 4 pixels; centres at 4, 12, 20, 28
    inside = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    inside[0, 0, 0, 1] = True  # (12, 4) is 2.8 from (10, 6)
    inside[0, 0, 2, 3] = True  # (28, 20) is 2 from (26, 20)
    assert torch.equal(target.inside, inside)  # of the hidden part none, though (28, 28) is 2.8 from it
    assert target.covered.sum().item() == pytest.approx(2 * math.pi * 16 / 64, rel=0.05)  # two discs, cells of 64
    heat = torch.zeros(1, 1, 4, 4)
    heat[0, 0, 2, 3], heat[0, 0, 3, 3] = 1.0, 0.5
    assert pointing(heat, target).tolist() == [1.0]
    heat[0, 0, 3, 3] = 1.0
    assert pointing(heat, target).tolist() == [0.5]


def test_an_oblong_image_has_discs_and_not_ellipses():
    target = part_target(torch.tensor([[[8.0, 8.0, 1.0]]]), (4, 8), (16, 32), radius=0.25)  # 4 pixels: one cell's side
    inside = torch.zeros(1, 1, 4, 8, dtype=torch.bool)
    inside[0, 0, 1:3, 1:3] = True  # centres at 6 and 10 of either side
    assert torch.equal(target.inside, inside)
