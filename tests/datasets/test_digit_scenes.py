"""Digit scenes: every box is the ink of one digit, batches hold what the scenes do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from zoomexp.datasets.digit_scenes import DigitScenes
from zoomexp.errors import InputError

FILE = Path(__file__).parents[2] / "configs" / "dataset" / "digit_scenes.yaml"


def made(**options):
    plain = {"data_dir": "nowhere", "batch_size": 16, "mean": [0.0], "std": [1.0], "train_images": 150}
    data = DigitScenes(**plain | {"test_images": 60} | options)
    data.setup()
    return data


def test_boxes_are_the_ink_of_single_digits():
    scenes = made(fragments=0).scenes("test")
    assert scenes.counts.min() == 1 and scenes.counts.max() == 3 and scenes.counts.sum() == len(scenes.labels)
    first = 0
    for image, count in zip(scenes.images[..., 0], scenes.counts, strict=True):
        left = image.copy()
        for x0, y0, x1, y1 in scenes.boxes[first : first + count].astype(int):
            ink = image[y0:y1, x0:x1] > 0
            assert all(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))
            assert left[y0:y1, x0:x1].any()
            left[y0:y1, x0:x1] = 0
        assert not left.any()  # no ink outside of the boxes; and as each had ink of its own, none lies in another
        first += count


def test_fragments_add_ink_and_no_boxes():
    with_, without = (made(fragments=n).scenes("train") for n in (3, 0))
    np.testing.assert_array_equal(with_.boxes, without.boxes)
    assert (with_.images >= without.images).all() and (with_.images != without.images).any((1, 2, 3)).mean() > 0.9


def test_the_seed_makes_the_scenes_and_splits_differ():
    one, same, other = made(), made(seed=5), made(data_seed=1)
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(one.scenes(split).images, same.scenes(split).images)
        assert not np.array_equal(one.scenes(split).images, other.scenes(split).images)
    assert [len(one.scenes(split)) for split in ("train", "val", "test")] == [135, 15, 60]
    assert made(validate_on="test").scenes("val").images.shape == (60, 48, 48, 1)
    assert made(val_fraction=0).val_dataloader() == []


def test_a_batch_is_what_the_scenes_hold():
    data = made()
    scenes, loader = data.scenes("train"), data.train_dataloader()
    loader.sampler.set_epoch(3)
    seen, first = [], np.cumsum(scenes.counts) - scenes.counts
    for batch in loader:
        seen += batch["index"].tolist()
        parts = [values.split(batch["count"].tolist()) for values in (batch["boxes"], batch["labels"])]
        for i, index in enumerate(batch["index"].tolist()):
            own = slice(first[index], first[index] + scenes.counts[index])
            torch.testing.assert_close(
                batch["image"][i, 0], torch.from_numpy(scenes.images[index, ..., 0] / 255).float()
            )
            np.testing.assert_array_equal(parts[0][i], scenes.boxes[own])
            np.testing.assert_array_equal(parts[1][i], scenes.labels[own])
        assert batch["size"].tolist() == [[48, 48]] * 16
    assert len(seen) == len(set(seen)) == 128 and seen != sorted(seen)
    whole = [index for batch in data.test_dataloader() for index in batch["index"].tolist()]
    assert whole == list(range(60))


def test_larger_images_are_the_same_scenes():
    plain, large = made(), made(enlarge=1.16)
    assert large.image_size == 56 and plain.image_size == 48
    one, two = (data.scenes("test") for data in (plain, large))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_allclose(one.boxes * 56 / 48, two.boxes, rtol=1e-6)
    assert two.images.shape == (60, 56, 56, 1)
    np.testing.assert_allclose(one.images.mean((1, 2, 3)), two.images.mean((1, 2, 3)), atol=2.5)


def test_constants_are_those_of_the_training_images():
    dataset = OmegaConf.load(FILE)
    images = made(train_images=2000).scenes("train").images / 255
    assert abs(images.mean() - dataset.mean[0]) < 0.003 and abs(images.std() - dataset.std[0]) < 0.003


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"enlarge": 0.5}, "dataset.enlarge=0.5 must be a finite number, at least 1"),
        ({"digits": 0}, "dataset.digits=0 must be a whole number, at least 1"),
        ({"digit_sizes": [14, 60]}, r"dataset.digit_sizes=\[14, 60\] must be within 8..48, the canvas"),
        ({"digit_sizes": []}, r"dataset.digit_sizes=\[0\] must be within 8..48"),
        ({"fragment_size": 15}, "dataset.fragment_size=15 is larger than a digit; at most 14"),
        ({"drop_last": 1}, "dataset.drop_last=1 must be true or false"),
        ({"validate_on": "train"}, "dataset.validate_on"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=message):
        made(**options)
