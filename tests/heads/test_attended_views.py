"""Views by attention maps against loops over images: pixels whole, boxes exact, draws by their shares."""

import math

import pytest
import torch

from tests.heads.by_hand import box_by_hand, crop_by_hand, large, piece
from zoomexp.heads import attended_views
from zoomexp.heads.attended_views import attended, boxes_around, cropped, drawn, seen_as, swapped

SIZES = [(40, 40, 7, 7), (33, 48, 5, 6), (70, 30, 3, 2)]


def given(height, width, rows, columns, images=6):
    rng = torch.Generator().manual_seed(height)
    return (torch.randn(images, 3, height, width, generator=rng, dtype=torch.double),
            torch.rand(images, rows, columns, generator=rng, dtype=torch.double) ** 4)  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("share", "padding"), [(0.5, 0.1), (0.1, 0.05), (0.3, 0.1), (0.0, 0.1), (0.9, 1.0)])
def test_a_crop_is_the_one_that_is_sliced(size, share, padding):
    images, maps = given(*size)
    inside = attended(maps, images.shape[2:], share)
    boxes = boxes_around(inside, padding)
    expected = [box_by_hand(large(own, one) >= share * own.max(), padding)
                for one, own in zip(images, maps, strict=True)]  # fmt: skip
    assert boxes.tolist() == expected
    pieces = [crop_by_hand(one, own, share, padding) for one, own in zip(images, maps, strict=True)]
    torch.testing.assert_close(cropped(images, boxes), torch.stack(pieces), rtol=1e-9, atol=1e-9)


def test_a_crop_in_single_precision():
    images, maps = (value.float() for value in given(*SIZES[0]))
    found = cropped(images, boxes_around(attended(maps, images.shape[2:], 0.5), 0.1))
    pieces = [crop_by_hand(one, own, 0.5, 0.1) for one, own in zip(images, maps, strict=True)]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.stack(pieces), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [*SIZES, (8, 8, 2, 2), (5, 9, 5, 9), (1, 1, 1, 1)])
@pytest.mark.parametrize("padding", [0.0, 0.05, 0.1])
def test_the_highest_place_is_in_the_box(size, padding):
    """Also in images so small that the widening ends before it."""
    images, maps = given(*size, images=50)
    boxes = boxes_around(attended(maps, images.shape[2:], 0.6), padding)
    for image, own, (top, bottom, left, right) in zip(images, maps, boxes.tolist(), strict=True):
        row, column = divmod(int(large(own, image).argmax()), size[1])
        assert 0 <= top <= row < bottom <= size[0] and 0 <= left <= column < right <= size[1]
    assert cropped(images, boxes).isfinite().all()


def test_maps_that_say_nothing_choose_the_whole():
    images, maps = given(*SIZES[0])
    for heat in (torch.zeros_like(maps), torch.full_like(maps, float("nan"))):
        boxes = boxes_around(attended(heat, images.shape[2:], 0.5), 0.1)
        assert boxes.tolist() == [[0, 40, 0, 40]] * 6
        torch.testing.assert_close(cropped(images, boxes), images)


def test_what_is_dropped(monkeypatch):
    monkeypatch.setitem(attended_views.SHARES, "drop", (0.3, 0.3))
    images, maps = given(*SIZES[1])
    found = seen_as("drop", images, maps)
    share = torch.tensor(0.3)  # as a draw has it, in single precision
    for one, image, own in zip(found, images, maps, strict=True):
        away = large(own, image) >= share * own.max()
        assert away.any() and not away.all()
        assert not one[:, away].any() and torch.equal(one[:, ~away], image[:, ~away])


@pytest.mark.parametrize("count", [6, 5])
def test_boxes_change_places(count):
    images, maps = given(*SIZES[1], images=count)
    inside = attended(maps, images.shape[2:], 0.5)
    found = swapped(images, boxes_around(inside, 0.0))
    boxes = [box_by_hand(one, 0.0) for one in inside]
    boxes = [[top, bottom + 1, left, right + 1] for top, bottom, left, right in boxes]  # the last ones, too
    for i, expected in enumerate(images.clone()):
        partner = i ^ 1
        if partner < count:
            top, bottom, left, right = boxes[i]
            size = [bottom - top, right - left]
            expected[:, top:bottom, left:right] = piece(images[partner], boxes[partner], size)
        torch.testing.assert_close(found[i], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("view", "low", "high"), [("crop", 0.4, 0.6), ("drop", 0.2, 0.5), ("mix", 0.4, 0.6)])
def test_each_image_has_a_share_of_its_own(view, low, high, monkeypatch):
    shares = []
    monkeypatch.setattr(attended_views, "attended", lambda maps, size, share: shares.append(share) or attended(
        maps, size, share))  # fmt: skip
    torch.manual_seed(0)
    images, maps = given(*SIZES[0], images=200)
    assert seen_as(view, images, maps).shape == images.shape
    assert low <= shares[0].min() < low + 0.02 and high - 0.02 < shares[0].max() <= high
    assert len(shares[0].unique()) == 200


def test_maps_are_drawn_by_the_root_of_their_sum():
    """Within five standard deviations, drawn from one seed; the two draws of an image are independent."""
    maps = torch.tensor([0.0, 1.0, 4.0, 9.0])[:, None, None].expand(4, 2, 2) / 4
    torch.manual_seed(0)
    images = 20_000
    chosen = drawn(maps.expand(images, 4, 2, 2), 2).sum((2, 3)).sqrt().round().long()
    for pair in [(a, b) for a in range(4) for b in range(4)]:
        p = math.prod(max(rate, 1e-3) for rate in pair) / 36
        often = int((chosen == torch.tensor(pair)).all(1).sum())
        assert abs(often - images * p) <= 5 * math.sqrt(images * p) + 1
