"""Scores of maps against boxes and parts whose answers are known, or come from counting pixels."""

import math

import pytest
import torch

from zoomexp.metrics.localisation import (
    best_iou,
    centre_prior,
    energy_in_box,
    hits,
    mass,
    mass_near_parts,
    random_prior,
)
from zoomexp.metrics.map_scores import Localisation

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
    game = Localisation()
    left, right = torch.tensor([[0.0, 0.0, 16.0, 32.0]]), torch.tensor([[16.0, 0.0, 32.0, 32.0]])
    game.update(torch.cat([peak_at(0, 0), peak_at(1, 1), peak_at(0, 3)]), torch.cat([left] * 3), SIDE)
    game.update(peak_at(2, 1), right, SIDE)
    assert game.compute()["pointing_game"].item() == 50
    game.reset()
    game.update(peak_at(2, 2).half(), right, SIDE)
    assert game.compute()["pointing_game"].item() == 100


@pytest.mark.parametrize(("rows", "cols"), [(3, 5), (4, 4), (1, 1), (1, 6), (7, 2)])
def test_the_centre_prior_peaks_in_the_middle(rows, cols):
    heat = centre_prior(torch.zeros(2, 1, rows, cols))
    assert heat.shape == (2, 1, rows, cols)
    peaks = {tuple(cell) for cell in (heat[1, 0] == heat[1, 0].max()).nonzero().tolist()}
    middle = [{(size - 1) // 2, size // 2} for size in (rows, cols)]
    assert peaks == {(row, col) for row in middle[0] for col in middle[1]}


def in_pixels(maps: torch.Tensor) -> torch.Tensor:
    """The maps (B, 1, h, w) with every cell repeated over its pixels, (B, SIDE, SIDE)."""
    rows, cols = maps.shape[2:]
    return maps[:, 0].repeat_interleave(SIDE // rows, 1).repeat_interleave(SIDE // cols, 2)


def box_pixels(boxes: torch.Tensor) -> torch.Tensor:
    """Whole-pixel boxes as masks (B, SIDE, SIDE)."""
    masks = torch.zeros(len(boxes), SIDE, SIDE)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.clamp(0, SIDE).int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    return masks


def random_case(grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps with ties, and whole-pixel boxes, some of which leave the image."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(0, 6, (40, 1, *grid), generator=generator).float()
    corners = torch.randint(-8, SIDE, (40, 2), generator=generator).float()
    return maps, torch.cat([corners, corners + torch.randint(1, 25, (40, 2), generator=generator)], dim=1)


@pytest.mark.parametrize("grid", [(4, 4), (2, 8), (32, 16)])
def test_energy_in_box_is_a_count_of_pixels(grid):
    maps, boxes = random_case(grid)
    pixels, masks = in_pixels(maps), box_pixels(boxes)
    expected = (pixels * masks).sum((1, 2)) / pixels.sum((1, 2))
    torch.testing.assert_close(energy_in_box(maps, boxes, SIDE), expected)


@pytest.mark.parametrize("grid", [(4, 4), (2, 8), (32, 16)])
def test_best_iou_tries_every_threshold(grid):
    maps, boxes = random_case(grid)
    pixels, masks = in_pixels(maps), box_pixels(boxes)
    ious = []
    for threshold in range(6):
        chosen = (pixels >= threshold).float()
        union = torch.maximum(chosen, masks).sum((1, 2))
        ious.append((chosen * masks).sum((1, 2)) / union.clamp(min=1))
    torch.testing.assert_close(best_iou(maps, boxes, SIDE), torch.stack(ious).amax(0))


@pytest.mark.parametrize("score", [energy_in_box, best_iou])
def test_edge_cases_of_boxes(score):
    left, right = [[0.0, 0, 16, 32]], [[16.0, 0, 32, 32]]
    heat = torch.zeros(1, 1, 4, 4)
    heat[:, :, :, :2] = 0.7

    def scored(maps, box):
        return score(maps, torch.tensor(box), SIDE).item()

    assert scored(heat, left) == pytest.approx(1)  # all of it inside
    assert scored(heat, right) == pytest.approx({energy_in_box: 0, best_iou: 0.5}[score])  # at t = 0 all cells
    assert scored(torch.full((1, 1, 4, 4), 0.3), [[0.0, 0, 16, 8]]) == pytest.approx(1 / 8)  # flat: the box's share
    assert scored(torch.zeros(1, 1, 4, 4), [[0.0, 0, 16, 8]]) == pytest.approx(1 / 8)
    assert scored(heat, [[8.0, 8, 8, 20]]) == 0  # empty
    assert scored(heat, [[32.0, 0, 50, 32]]) == 0  # outside
    assert scored(heat.half(), [[-9.0, -9, 4, 40]]) == pytest.approx(0.25, abs=1e-3)  # cut off at the edge


def test_mass_near_parts_is_a_count_of_fine_points():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(6, 1, 4, 4, generator=generator)
    parts = torch.rand(6, 5, 3, generator=generator) * torch.tensor([SIDE, SIDE, 1])
    parts[:, :, 2] = (parts[:, :, 2] > 0.4).float()
    points = (torch.arange(512) + 0.5) * SIDE / 512
    inside = torch.zeros(6, 512, 512, dtype=torch.bool)
    for image in range(6):
        for x, y, visible in parts[image].tolist():
            if visible:
                inside[image] |= (points[None, :] - x) ** 2 + (points[:, None] - y) ** 2 <= (0.15 * SIDE) ** 2
    fine = maps[:, 0].repeat_interleave(128, 1).repeat_interleave(128, 2)
    expected = (fine * inside).sum((1, 2)) / fine.sum((1, 2))
    torch.testing.assert_close(mass_near_parts(maps, parts, SIDE, radius=0.15), expected, atol=2e-3, rtol=0)


def test_mass_near_parts_at_its_ends():
    parts = torch.tensor([[[16.0, 16.0, 1.0]], [[16.0, 16.0, 0.0]]])
    heat = torch.rand(2, 1, 7, 5)
    assert mass_near_parts(heat, parts, SIDE, radius=1.0).tolist() == [pytest.approx(1), 0]  # hidden: no disc
    far = torch.cat([peak_at(0, 0)] * 2)
    assert mass_near_parts(far, parts, SIDE, radius=0.1).tolist() == [0, 0]


def test_mass_sums_to_one_and_keeps_proportions():
    heat = torch.tensor([[[[1.0, 3.0]]], [[[0.0, 0.0]]], [[[1e-30, 3e-30]]]])
    torch.testing.assert_close(mass(heat)[:, 0, 0], torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.25, 0.75]]))


@pytest.mark.parametrize("score", [hits, energy_in_box, best_iou])
def test_an_image_scores_the_same_in_any_batch(score):
    maps, boxes = random_case((4, 4))
    alone = torch.cat([score(maps[i : i + 1], boxes[i : i + 1], SIDE) for i in range(len(maps))])
    assert torch.equal(score(maps, boxes, SIDE), alone)


def test_the_random_prior_depends_on_image_and_seed_alone():
    shape = torch.zeros(3, 1, 5, 4)
    drawn = random_prior(shape, torch.tensor([7, 8, 7]))
    assert drawn.shape == shape.shape
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(random_prior(shape[:1], torch.tensor([8]))[0], drawn[1])
    assert not torch.equal(random_prior(shape[:1], torch.tensor([8]), seed=1)[0], drawn[1])
    many = random_prior(torch.zeros(200, 1, 4, 4), torch.arange(200))
    assert many.min() >= 0 and many.max() < 1 and many.mean().item() == pytest.approx(0.5, abs=0.02)


def test_the_centre_prior_lies_in_0_to_1():
    heat = centre_prior(torch.zeros(1, 1, 5, 5))[0, 0]
    assert heat[2, 2] == 1 and heat[0, 0] == 0 and heat[2, 0] == 0.5


@pytest.mark.parametrize("score", [hits, energy_in_box, best_iou])
def test_an_image_that_is_no_square_is_one_whose_other_side_was_stretched(score):
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand(40, 1, 4, 6, generator=generator)
    corners = torch.rand(40, 2, generator=generator) * 20
    boxes = torch.cat([corners, corners + 1 + torch.rand(40, 2, generator=generator) * 11], 1)  # of 32 x 32
    flat = boxes * torch.tensor([1.0, 0.5, 1.0, 0.5])  # of images 16 high and 32 wide
    torch.testing.assert_close(score(maps, flat, (16, 32)), score(maps, boxes, 32))


def test_parts_of_an_image_that_is_no_square():
    maps = torch.ones(1, 1, 1, 2)
    found = mass_near_parts(maps, torch.tensor([[[16.0, 8.0, 1.0]]]), (16, 32), radius=0.25)
    assert found.item() == pytest.approx(math.pi * 4**2 / (16 * 32), abs=1e-3)  # a disc of a quarter of the height
