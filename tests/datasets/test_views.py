import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import RandomResizedCrop, v2

from zoomexp.datasets.picture import Picture
from zoomexp.datasets.rand_augment import MOVING, RandAugment
from zoomexp.datasets.views import CentralView, RandomView, move_box, move_parts

SIDE = 48
BLACK = (0, 0, 0)


def picture(width, height, box):
    """A black image with a white box."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = 255
    return Image.fromarray(pixels)


def noise(width, height, grain=4):
    small = np.random.default_rng(0).integers(0, 256, (height // grain, width // grain, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def bright(pixels):
    """The box of what is brighter than half, and its centre, in pixel edges."""
    rows, columns = np.nonzero(pixels.mean(2) > 127)
    if not len(rows):
        return None, None
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return box, np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def seeded(view, image, seed):
    random.seed(seed)
    torch.manual_seed(seed)
    return view(Picture(image, "made.png"))


@pytest.fixture(autouse=True)
def leave_randomness_alone():
    before = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(before)


@pytest.mark.parametrize("size", [(120, 80), (60, 200), (48, 48), (30, 41)])
def test_the_box_is_where_the_bright_pixels_are_in_a_central_view(size):
    width, height = size
    box = (width // 3, height // 3, width // 3 + 12, height // 3 + 9)
    pixels, steps = CentralView(SIDE, 0.875)(Picture(picture(width, height, box), "made.png"))
    assert pixels.shape == (SIDE, SIDE, 3) and pixels.dtype == np.uint8
    found, _ = bright(pixels)
    assert abs(move_box(np.array(box), steps, SIDE) - found).max() <= 1


@pytest.mark.parametrize("size", [(120, 80), (60, 200)])
def test_the_box_is_where_the_bright_pixels_are_after_random_windows_and_flips(size):
    width, height = size
    box = (width // 3, height // 3, width // 3 + 14, height // 3 + 9)
    view, lost = RandomView(SIDE, scale=(0.1, 1), flip=True, augment=None), 0
    for seed in range(60):
        pixels, steps = seeded(view, picture(width, height, box), seed)
        found, _ = bright(pixels)
        moved = move_box(np.array(box), steps, SIDE)
        if found is None:
            assert min(moved[2:] - moved[:2]) < 1
            lost += 1
        else:
            assert abs(moved - found).max() <= 1
    assert 0 < lost < 40


def test_parts_follow_every_operation_of_rand_augment_that_moves_the_image():
    augment = RandAugment(SIDE, BLACK)
    augment.operations = [operation for operation in augment.operations if operation.name in MOVING]
    assert {operation.name for operation in augment.operations} == MOVING
    view, seen = RandomView(SIDE, scale=(0.5, 1), flip=True, augment=augment), 0
    parts, image = np.array([[53.0, 33, 1], [53, 33, 0]]), picture(120, 80, (50, 30, 56, 36))
    for seed in range(150):
        pixels, steps = seeded(view, image, seed)
        (x, y, visible), hidden = move_parts(parts, steps, SIDE)
        assert hidden.tolist() == [0, 0, 0]
        if 5 < x < SIDE - 5 and 5 < y < SIDE - 5 and len(steps) > 1:
            _, centre = bright(pixels)
            assert abs(centre - [x, y]).max() <= 1
            seen += 1
        if not visible:
            assert x == y == 0
    assert seen > 30


def test_rand_augment_is_timms():
    augment = RandAugment(224, (0.485, 0.456, 0.406))
    assert len(augment.operations) == 15 and augment.count == 2
    assert {(op.prob, op.magnitude, op.magnitude_std) for op in augment.operations} == {(0.5, 9, 0.5)}
    assert augment.operations[0].kwargs["fillcolor"] == (124, 116, 104)


def test_what_has_left_the_square_does_not_come_back():
    there, back = np.eye(3), np.eye(3)
    there[0, 2], back[0, 2] = -20, 20
    assert move_parts(np.array([[10.0, 5, 1]]), [there, back], SIDE).tolist() == [[0, 0, 0]]
    assert move_box(np.array([10, 5, 30, 15]), [there, back], SIDE).tolist() == [20, 5, 30, 15]


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (256, 256), (640, 301)])
def test_central_view_is_torchvisions_resize_and_centre_crop(size):
    image = noise(*size)
    pixels, steps = CentralView(224, 0.875)(Picture(image, "made.png"))
    reference = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])
    box = tv_tensors.BoundingBoxes([[150, 100, 240, 210]], format="XYXY", canvas_size=size[::-1], dtype=torch.float32)
    expected, expected_box = reference(image, box)
    difference = abs(pixels.astype(int) - np.asarray(expected))[2:-2, 2:-2]  # a crop's edge pixels lack neighbours
    assert difference.max() <= 2
    np.testing.assert_allclose(move_box(np.array([150, 100, 240, 210]), steps, 224), expected_box[0], atol=1e-3)


def test_random_view_is_torchvisions_resized_crop():
    image, view = noise(200, 120), RandomView(SIDE, scale=(0.08, 1), flip=False, augment=None)
    box = tv_tensors.BoundingBoxes([[60, 40, 140, 90]], format="XYXY", canvas_size=(120, 200), dtype=torch.float32)
    for seed in range(20):
        pixels, steps = seeded(view, image, seed)
        torch.manual_seed(seed)
        window = RandomResizedCrop.get_params(image, (0.08, 1), (3 / 4, 4 / 3))
        expected, expected_box = (v2.functional.resized_crop(part, *window, [SIDE, SIDE]) for part in (image, box))
        difference = abs(pixels.astype(int) - np.asarray(expected))[2:-2, 2:-2]
        assert difference.max() <= 1
        np.testing.assert_allclose(move_box(np.array([60, 40, 140, 90]), steps, SIDE), expected_box[0], atol=1e-3)


def test_a_large_jpeg_is_decoded_at_a_reduced_size_and_looks_the_same(tmp_path):
    image, path = noise(1203, 901, grain=40), tmp_path / "large.jpg"
    image.save(path, quality=95)
    with Image.open(path) as opened:
        reduced, _ = CentralView(SIDE, 0.875)(Picture(opened, path))
        assert opened.size[0] < 400
    with Image.open(path) as opened:
        whole, _ = CentralView(SIDE, 0.875)(Picture(opened.convert("RGB"), path))
    assert abs(reduced.astype(int) - whole).mean() < 2
