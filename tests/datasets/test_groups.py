"""Splits and folds: every image once, groups whole, classes' shares kept, the seed decides."""

import numpy as np
import pytest

from zoomexp.datasets.groups import assigned, crossing
from zoomexp.datasets.holdout import check_folds, fold_out, hold_out
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.parts import Partition
from zoomexp.errors import InputError


def files(tmp_path, labels, groups=None):
    paths = np.array([f"{i}.png".encode() for i in range(len(labels))])
    return ImageFiles(tmp_path, paths, np.asarray(labels), groups=None if groups is None else np.asarray(groups))


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_whole_and_classes_keep_their_shares(seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    labels = rng.integers(0, 3, 60)[groups]  # a group is of one class, as a patient's images are
    parts = assigned(labels, groups, (0.7, 0.2, 0.1), seed)
    assert crossing([groups[parts == part] for part in range(3)]) is None
    for label in range(3):
        own = np.bincount(parts[labels == label], minlength=3)
        np.testing.assert_allclose(own, np.array([0.7, 0.2, 0.1]) * own.sum(), atol=5)  # the size of a group
    assert np.array_equal(parts, assigned(labels, groups, (0.7, 0.2, 0.1), seed))
    assert not np.array_equal(parts, assigned(labels, groups, (0.7, 0.2, 0.1), seed + 1))


def test_crossing():
    assert crossing([np.array([1, 2]), np.array([3, 3])]) is None
    assert crossing([np.array([1, 5]), np.array([3]), np.array([4, 5])]) == 5


@pytest.mark.parametrize("grouped", [False, True])
def test_each_image_is_in_one_fold(tmp_path, grouped):
    labels = np.array([0] * 31 + [1] * 12 + [2] * 5)
    groups = np.arange(48) // 2 if grouped else None
    everything, seen = files(tmp_path, labels, groups), []
    for fold in range(5):
        rest, held = fold_out(everything, fold, 5, seed=3)
        seen.append(held.index)
        assert sorted([*rest.index, *held.index]) == list(range(48)) and abs(len(held) - 48 / 5) < 3
        if grouped:
            assert crossing([rest.groups, held.groups]) is None
        else:
            share = np.bincount(held.labels, minlength=3)
            assert (abs(share - np.array([31, 12, 5]) / 5) < 1.01).all()
    assert sorted(np.concatenate(seen)) == list(range(48))
    other = fold_out(everything, 0, 5, seed=4)[1]
    assert not np.array_equal(seen[0], other.index)


def test_a_hold_out_of_groups(tmp_path):
    everything = files(tmp_path, np.arange(60) % 2, np.arange(60) // 6)
    kept, held = hold_out(everything, 0.2, seed=0)
    assert len(held) == 12 and crossing([kept.groups, held.groups]) is None
    with pytest.raises(InputError, match=r"dataset.val_fraction=0.1: no such part of 1 groups"):
        hold_out(files(tmp_path, np.arange(60) % 2, np.zeros(60, int)), 0.1, seed=0)


@pytest.mark.parametrize(
    ("fold", "folds", "message"),
    [(0, None, "dataset.folds: must be given with dataset.fold"), (None, 5, "dataset.fold: must be given with"),
     (5, 5, r"dataset.fold=5 must be a whole number in 0..4"), (0, 1, "dataset.folds=1 must be a whole number, at le"),
     ("a", 5, "dataset.fold='a' must be")],
)  # fmt: skip
def test_folds_that_are_none(fold, folds, message):
    with pytest.raises(InputError, match=message):
        check_folds(fold, folds)


def partition(**options):
    return Partition(**{"val_fraction": 0.25, "validate_on": "heldout", "test_fraction": 0.2, "fold": None,
                        "folds": None, "seed": 0, **options})  # fmt: skip


def test_what_a_set_brings_is_kept_and_the_rest_held_out(tmp_path):
    labels = np.arange(40) % 2
    train, other = files(tmp_path, labels), files(tmp_path, labels[:10])
    whole = partition(val_fraction=0.1).of(FileSplits(train, other, other, ("a", "b")))
    assert (len(whole.train), whole.val, whole.test, whole.notes) == (40, other, other, ())
    alone = partition().of(FileSplits(train, None, None, ("a", "b")))
    assert [len(part) for part in (alone.train, alone.val, alone.test)] == [24, 8, 8]
    assert sorted(np.concatenate([alone.train.index, alone.val.index, alone.test.index])) == list(range(40))
    assert alone.notes == ("tested on 20 % of the images, held out (dataset.test_fraction)",)
    paper = partition(validate_on="test").of(FileSplits(train, None, None, ("a", "b")))
    assert (len(paper.train), paper.val is paper.test) == (32, True)


def test_a_share_of_what_is_not_held_out_is_refused(tmp_path):
    one = files(tmp_path, np.arange(20) % 2)
    brought, alone = FileSplits(one, one, one, ("a", "b")), FileSplits(one, None, None, ("a", "b"))
    for options, splits, message in (
        (
            {},
            brought,
            r"dataset\.val_fraction=0\.25: nothing is held out, for the data set has a val split; leave it out",
        ),
        ({"val_fraction": 0.1, "test_fraction": 0.3}, brought, r"dataset\.test_fraction=0\.3: .* has a test split"),
        (
            {"fold": 0, "folds": 2, "test_fraction": 0.3},
            alone,
            r"test_fraction=0\.3: .* dataset\.folds=2 part the images",
        ),
    ):
        with pytest.raises(InputError, match=message):
            partition(**options).of(splits)


def test_folds_are_of_the_training_and_validation_images(tmp_path):
    (tmp_path / "train").mkdir()
    train = files(tmp_path / "train", np.arange(30) % 2)
    val, test = files(tmp_path / "val", np.arange(10) % 2), files(tmp_path / "test", np.arange(10) % 2)
    parts = partition(fold=1, folds=4).of(FileSplits(train, val, test, ("a", "b")))
    assert (len(parts.test), len(parts.train), len(parts.val)) == (10, 22, 8)
    assert parts.notes == ("tested on fold 1 of 4 (0 to 3) of the training images; the test split is not used",)
    names = [part.name(i) for part in (parts.train, parts.val, parts.test) for i in range(len(part))]
    assert sorted(names) == sorted([f"train/{i}.png" for i in range(30)] + [f"val/{i}.png" for i in range(10)])


@pytest.mark.parametrize(
    ("labels", "groups", "options", "message"),
    [([0] * 9 + [1] * 2, None, {"fold": 0, "folds": 3}, "dataset.folds=3: a class has only 2 images"),
     ([0, 1] * 8, [0] * 8 + [1] * 8, {"fold": 0, "folds": 3}, "dataset.folds=3: there are only 2 groups"),
     ([0] * 6 + [1] * 6, [0] * 6 + [1] * 6, {"test_fraction": 0.5}, r"class '.' has no training image left, 6")],
)  # fmt: skip
def test_too_few_for_it(tmp_path, labels, groups, options, message):
    with pytest.raises(InputError, match=message):
        partition(val_fraction=0, **options).of(FileSplits(files(tmp_path, labels, groups), None, None, ("a", "b")))
