"""3-Augment against its description, pixel by pixel."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.transforms import v2

from zoomexp.datasets.picture import Picture
from zoomexp.datasets.three_augment import ThreeAugment
from zoomexp.datasets.views import RandomView

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def leave_randomness_alone():
    before = random.getstate()
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        torch.manual_seed(0)
        yield
    random.setstate(before)


def kinds():
    """The first step alone: what it was taken for, and its result, many times."""
    first = ThreeAugment().change.transforms[0]
    for _ in range(300):
        made = np.asarray(first(Image.fromarray(PIXELS))).astype(int)
        if (made == made[..., :1]).all():
            yield "grey", made
        elif set(np.unique(made - PIXELS)) != {0} and (made[PIXELS < 128] == PIXELS[PIXELS < 128]).all():
            yield "solarised", made
        else:
            yield "blurred", made


def test_one_of_three_changes_each_as_likely_as_the_others():
    found = [kind for kind, _ in kinds()]
    counts = {kind: found.count(kind) for kind in ("grey", "solarised", "blurred")}
    assert sum(counts.values()) == 300 and 75 <= min(counts.values()) <= max(counts.values()) <= 125


def test_the_changes_are_what_they_are_called():
    radii, found = [r / 1000 for r in range(100, 2001, 2)], []
    blurs = np.stack([Image.fromarray(PIXELS).filter(ImageFilter.GaussianBlur(radius)) for radius in radii]).astype(int)
    for kind, made in kinds():
        if kind == "grey":
            luma = PIXELS @ [0.299, 0.587, 0.114]
            np.testing.assert_allclose(made, np.repeat(luma[..., None], 3, axis=2), atol=1)
        elif kind == "solarised":
            np.testing.assert_array_equal(made, np.where(PIXELS < 128, PIXELS, 255 - PIXELS.astype(int)))
        else:
            distances = abs(made - blurs).max((1, 2, 3))
            assert distances.min() <= 1
            found.append(radii[distances.argmin()])
    assert min(found) < 0.3 and max(found) > 1.8 and abs(np.mean(found) - 1.05) < 0.2


def test_then_the_colours_are_jittered():
    jitter = ThreeAugment().change.transforms[1]
    assert isinstance(jitter, v2.ColorJitter) and jitter.hue is None
    for factors in (jitter.brightness, jitter.contrast, jitter.saturation):
        assert tuple(factors) == pytest.approx((0.7, 1.3))
    grey = np.full((8, 8, 3), 100, np.uint8)  # contrast and saturation leave it: brightness alone is seen
    values = {int(np.asarray(jitter(Image.fromarray(grey)))[0, 0, 0]) for _ in range(200)}
    assert 70 <= min(values) <= 74 and 126 <= max(values) <= 130


def test_nothing_moves():
    made = ThreeAugment()
    image, steps = made(Image.fromarray(PIXELS))
    assert image.size == (24, 24) and image.mode == "RGB" and steps == []
    views = [RandomView(16, scale=(0.3, 1), flip=True, augment=augment) for augment in (None, made)]
    moved = []
    for view in views:
        torch.manual_seed(5)
        moved.append(view(Picture(Image.fromarray(PIXELS), "made.png"))[1])
    np.testing.assert_array_equal(*moved)
