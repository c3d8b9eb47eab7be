"""The metric that keeps all scores of a site: means over the images that count, whatever the batches and processes."""

import pytest
import torch

from zoomexp.metrics.localisation import best_iou, energy, energy_in_box, hits, mass_near_parts, overlap, pointing
from zoomexp.metrics.map_scores import Localisation
from zoomexp.metrics.map_shape import entropy, gini, regions
from zoomexp.metrics.targets import mask_target, part_target

SIDE = 32


def data(count: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * 16
    boxes = torch.cat([corners, corners + 8], dim=1)
    parts = torch.rand(count, 3, 3, generator=generator) * torch.tensor([SIDE, SIDE, 1])
    parts[:, :, 2] = (parts[:, :, 2] > 0.3).float()
    return torch.rand(count, 1, 6, 6, generator=generator), boxes, parts


def test_it_is_the_mean_of_the_functions_over_all_images():
    maps, boxes, parts = data()
    parts[:, 0, 2] = 1
    metric = Localisation()
    for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
        metric.update(maps[rows], boxes[rows], SIDE, parts[rows])
    number, size = regions(maps)
    discs = part_target(parts, (6, 6), SIDE, 0.1)
    means = {
        "pointing_game": 100 * hits(maps, boxes, SIDE).mean(),
        "energy_in_box": 100 * energy_in_box(maps, boxes, SIDE).mean(),
        "best_iou": 100 * best_iou(maps, boxes, SIDE).mean(),
        "part_hits": 100 * pointing(maps, discs).mean(),
        "mass_near_parts": 100 * mass_near_parts(maps, parts, SIDE).mean(),
        "best_parts_iou": 100 * overlap(maps, discs).mean(),
        "entropy": 100 * entropy(maps).mean(),
        "gini": 100 * gini(maps).mean(),
        "region_size": 100 * size.mean(),
        "regions": number.mean(),
    }
    found = metric.compute()
    assert list(found) == list(means)
    torch.testing.assert_close(found, means)


def test_images_without_a_box_or_a_visible_part_are_left_out():
    maps, boxes, parts = data()
    parts[:, 0, 2] = 1
    whole, some = Localisation(), Localisation()
    whole.update(maps[4:], boxes[4:], SIDE, parts[4:])
    boxes[:4] = torch.tensor([[5.0, 5, 5, 9], [32.0, 0, 40, 9], [-9.0, 0, 0, 9], [3.0, 9, 8, 9]])  # no area inside
    parts[:4, :, 2] = 0
    some.update(maps, boxes, SIDE, parts)
    for name in ("pointing_game", "energy_in_box", "best_iou", "mass_near_parts"):
        torch.testing.assert_close(some.compute()[name], whole.compute()[name])
    torch.testing.assert_close(some.compute()["entropy"], 100 * entropy(maps).mean())


def test_masks_are_scored_as_boxes_are_and_empty_ones_left_out():
    maps, _, _ = data()
    masks = torch.rand(12, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) > 0.8
    masks[3:5] = False
    metric = Localisation()
    metric.update(maps, None, SIDE, masks=masks)
    there = [0, 1, 2, *range(5, 12)]
    target = mask_target(masks[there], (6, 6))
    expected = {
        "mask_hits": 100 * pointing(maps[there], target).mean(),
        "energy_in_mask": 100 * energy(maps[there], target).mean(),
        "best_mask_iou": 100 * overlap(maps[there], target).mean(),
    }
    found = metric.compute()
    assert set(found) == {*expected, "entropy", "gini", "region_size", "regions"}
    torch.testing.assert_close({name: found[name] for name in expected}, expected)


def test_what_no_image_can_answer_is_not_in_the_result():
    maps, boxes, parts = data(3)
    metric = Localisation()
    metric.update(maps, None, SIDE)
    assert set(metric.compute()) == {"entropy", "gini", "region_size", "regions"}
    metric.reset()
    metric.update(maps, boxes, SIDE)
    assert "mass_near_parts" not in metric.compute() and "best_iou" in metric.compute()
    metric.reset()
    metric.update(maps, boxes * 0, SIDE, parts * 0, torch.zeros(3, SIDE, SIDE, dtype=torch.bool))
    assert set(metric.compute()) == {"entropy", "gini", "region_size", "regions"}


def test_two_processes_add_up_to_one():
    maps, boxes, parts = data()
    both, *halves = Localisation(), Localisation(), Localisation()
    both.update(maps, boxes, SIDE, parts)
    halves[0].update(maps[:4], boxes[:4], SIDE, parts[:4])
    halves[1].update(maps[4:], boxes[4:], SIDE, parts[4:])
    synced = Localisation()
    for name, reduce in synced._reductions.items():  # what torchmetrics does between processes
        setattr(synced, name, reduce(torch.stack([getattr(half, name) for half in halves])))
    synced._update_count = 1
    torch.testing.assert_close(synced.compute(), both.compute())


def test_half_precision_maps_that_need_a_gradient():
    maps, boxes, _ = data()
    metric, exact = Localisation(), Localisation()
    rounded = maps.bfloat16()
    metric.update(rounded.requires_grad_(), boxes, SIDE)
    exact.update(rounded.detach().float(), boxes, SIDE)
    assert metric.compute() == exact.compute()
    assert not metric.totals.requires_grad


@pytest.mark.parametrize("radius", [0.05, 0.3])
def test_the_radius_reaches_the_score(radius):
    maps, boxes, parts = data()
    parts[:, 0, 2] = 1
    metric = Localisation(radius=radius)
    metric.update(maps, boxes, SIDE, parts)
    expected = 100 * mass_near_parts(maps, parts, SIDE, radius).mean()
    torch.testing.assert_close(metric.compute()["mass_near_parts"], expected)
