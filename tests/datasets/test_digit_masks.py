"""Digit masks: the ink of every digit, whatever lies over it, and batches that hold image and mask of one scene."""

import numpy as np
import pytest
import torch

from tests.datasets.test_digit_scenes import made as scenes_made
from zoomexp.datasets.digit_masks import DigitMasks
from zoomexp.datasets.mask_inventory import mask_inventory_of


def made(**options):
    plain = {"data_dir": "nowhere", "batch_size": 16, "mean": [0.0], "std": [1.0], "train_images": 150}
    data = DigitMasks(**plain | {"test_images": 60} | options)
    data.setup()
    return data


def test_without_fragments_the_mask_is_the_ink():
    scenes = made(fragments=0).masked("test")
    np.testing.assert_array_equal(scenes.masks > 0, scenes.images[..., 0] > 0)
    first = 0
    for mask, count in zip(scenes.masks, scenes.counts, strict=True):
        for place in range(first, first + count):
            x0, y0, x1, y1 = scenes.boxes[place].astype(int)
            assert set(np.unique(mask[y0:y1, x0:x1])) <= {0, scenes.labels[place] + 1}
        first += count


def test_fragments_are_background():
    with_, without = (made(fragments=n).masked("train") for n in (3, 0))
    np.testing.assert_array_equal(with_.masks, without.masks)
    assert ((with_.images[..., 0] > 0) & (with_.masks == 0)).any()


def test_the_scenes_are_those_of_detection():
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(made().masked(part).images, scenes_made().scenes(part).images)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_batch_has_image_and_mask_of_one_scene(part):
    data = made()
    scenes, loader = data.masked(part), data.train_dataloader() if part == "train" else data.test_dataloader()
    loader.sampler.set_epoch(3)
    seen = []
    for batch in loader:
        seen += batch["index"].tolist()
        np.testing.assert_array_equal(batch["pixel_label"], scenes.masks[batch["index"]])
        torch.testing.assert_close(
            batch["image"][:, 0] * 255, torch.from_numpy(scenes.images[batch["index"], ..., 0]).float()
        )
    assert (seen == sorted(seen)) is (part == "test")
    chosen = next(iter(data.mask_batches(part, np.array([7, 2]), 2)))
    np.testing.assert_array_equal(chosen["pixel_label"], scenes.masks[[7, 2]])


def test_larger_images_keep_their_classes():
    plain, large = made().masked("test"), made(enlarge=2).masked("test")
    assert large.masks.shape == (60, 96, 96)
    np.testing.assert_array_equal(large.masks[:, ::2, ::2], plain.masks)


def test_what_is_held_is_told():
    data = made()
    held = mask_inventory_of(data)
    assert held.line() == "data: 11 classes of pixels; train 135 images, val 15 images, test 60 images"
    pixels = held.full()["splits"]["test"]["pixels"]
    masks = data.masked("test").masks
    assert pixels["background"] == (masks == 0).sum() and pixels["9"] == (masks == 10).sum()
    assert held.summary() == {
        "classes": 11,
        "images": {"train": 135, "val": 15, "test": 60},
        "passed_over": {},
        "notes": [],
    }
