import numpy as np
import pytest

from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.cluttered_digits import ClutteredDigits, clutter, enlarge
from zoomexp.datasets.digits import Digits, digit_splits
from zoomexp.errors import InputError

COMMON = {"data_dir": "nowhere", "batch_size": 32, "mean": [0.1], "std": [0.2]}


def cluttered(**options):
    data = ClutteredDigits(**{**COMMON, "train_images": 300, "test_images": 90, **options})
    data.setup()
    return data


def same(left, right):
    return all(np.array_equal(getattr(left, key), getattr(right, key)) for key in ("images", "labels", "boxes"))


def test_digits_are_the_originals_split_once():
    from sklearn.datasets import load_digits

    splits = digit_splits(0)
    assert (len(splits.train), len(splits.test)) == (1438, 359)
    values = np.round(np.concatenate([splits.train.images, splits.test.images]).reshape(-1, 64) * (16 / 255))
    original = load_digits().data
    assert sorted(map(tuple, values.tolist())) == sorted(map(tuple, original.tolist()))
    share = np.bincount(splits.test.labels) / np.bincount(load_digits().target)
    assert np.all(np.abs(share - 0.2) < 0.006)
    assert not np.array_equal(splits.test.labels, digit_splits(1).test.labels)


def test_digits_module():
    data = Digits(**COMMON)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (32, 1, 8, 8) and not data.has_boxes and data.num_classes == 10
    with pytest.raises(InputError, match=r"dataset\.data_seed=-1"):
        Digits(**COMMON, data_seed=-1)


def test_box_is_the_tight_box_of_the_ink():
    part = cluttered(distractors=0)._parts["train"]
    for image, box in zip(part.images[..., 0], part.boxes, strict=True):
        rows, columns = np.nonzero(image)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_fragments_never_darken_the_digit():
    digits, labels = enlarge(digit_splits(0).test.images[..., 0], 14), digit_splits(0).test.labels
    options = {"count": 400, "canvas": 30, "fragment_size": 5}
    alone, among = (
        clutter(digits, labels, distractors=d, generator=np.random.default_rng(0), **options) for d in (0, 7)
    )
    assert np.all(among.images >= alone.images) and np.array_equal(among.boxes, alone.boxes)
    counts = np.bincount(np.nonzero(among.images.astype(int) - alone.images)[0], minlength=400)
    assert counts.min() > 0 and counts.max() <= 7 * 5 * 5


def test_every_digit_is_used_about_equally_often_anywhere_on_the_canvas():
    digits = np.full((10, 8, 8), 255, np.uint8)
    options = {"count": 1000, "canvas": 12, "distractors": 0, "fragment_size": 2}
    made = clutter(digits, np.arange(10), generator=np.random.default_rng(1), **options)
    assert np.bincount(made.labels).tolist() == [100] * 10
    corners = {tuple(box[:2]) for box in made.boxes.astype(int).tolist()}
    assert corners == {(x, y) for x in range(5) for y in range(5)}


def test_fragments_are_cut_out_of_other_digits():
    digits = np.stack([np.full((8, 8), value, np.uint8) for value in (50, 100, 150, 200)])
    options = {"count": 200, "canvas": 40, "distractors": 5, "fragment_size": 3}
    made = clutter(digits, np.arange(4), generator=np.random.default_rng(2), **options)
    for image, label, (x0, y0, x1, y1) in zip(made.images[..., 0], made.labels, made.boxes.astype(int), strict=True):
        outside = image.copy()
        outside[y0:y1, x0:x1] = 0
        assert set(np.unique(outside)) <= {0, 50, 100, 150, 200} - {50 * (int(label) + 1)}


def test_the_parts_are_made_of_disjoint_digits(monkeypatch):
    drawn = {}

    def record(self, arrays, part, share):
        drawn[part] = arrays
        return ArrayDataModule.render(self, arrays, part, share)

    monkeypatch.setattr(ClutteredDigits, "render", record)
    cluttered(val_fraction=0.2)
    train, val = set(drawn["train"].index), set(drawn["val"].index)
    assert not train & val and train | val == set(range(1438)) and len(drawn["test"]) == 359


def test_counts_and_defaults():
    data = cluttered(val_fraction=0.1)
    assert {part: len(arrays) for part, arrays in data._parts.items()} == {"train": 270, "val": 30, "test": 90}
    assert (data.image_size, data.channels, data.num_classes, data.has_boxes) == (48, 1, 10, True)
    assert len(cluttered(validate_on="test")._parts["train"]) == 300
    assert len(cluttered(train_size=64)._parts["train"]) == 64


def test_images_follow_from_the_data_seed_alone():
    first, again, other = cluttered(seed=0), cluttered(seed=1), cluttered(data_seed=1)
    for part in ("train", "val", "test"):
        assert same(first._parts[part], again._parts[part]) and not same(first._parts[part], other._parts[part])
    assert not np.array_equal(first._parts["train"].images[:30], first._parts["val"].images[:30])


@pytest.mark.parametrize(("canvas", "distractors"), [(18, 0), (18, 3), (19, 40), (100, 12)])
def test_any_canvas_any_clutter(canvas, distractors):
    part = cluttered(canvas=canvas, distractors=distractors)._parts["train"]
    assert part.images.shape[1:] == (canvas, canvas, 1)
    assert part.boxes.min() >= 0 and part.boxes.max() <= canvas
    assert np.all(part.boxes[:, 2:] > part.boxes[:, :2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canvas": 17}, "dataset.canvas=17 is smaller than the digit; at least 18"),
        ({"distractors": -1}, "dataset.distractors=-1 must be a whole number, at least 0"),
        ({"distractors": 1.5}, "dataset.distractors=1.5"),
        ({"digit_size": 4}, "dataset.digit_size=4"),
        ({"fragment_size": 19}, "dataset.fragment_size=19 is larger than the digit; at most 18"),
        ({"train_images": 0}, "dataset.train_images=0"),
        ({"data_seed": -3}, "dataset.data_seed=-3"),
        ({"batch_size": 0}, "dataset.batch_size=0"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(InputError) as error:
        cluttered(**options)
    assert str(error.value).startswith(message)
