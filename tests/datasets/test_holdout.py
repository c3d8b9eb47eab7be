import numpy as np
import pytest

from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.holdout import hold_out, shortened, stratified
from zoomexp.errors import InputError

LABELS = np.random.default_rng(0).choice(4, 1000, p=[0.5, 0.3, 0.15, 0.05])


def arrays(labels=LABELS):
    return ImageArrays(np.zeros((len(labels), 2, 2, 1), np.uint8), labels)


@pytest.mark.parametrize("size", [0, 1, 7, 100, 333, 999, 1000])
def test_every_class_keeps_its_share(size):
    chosen = stratified(LABELS, size, seed=3)
    assert len(np.unique(chosen)) == size
    share = np.bincount(LABELS, minlength=4) * size / 1000
    assert np.all(np.abs(np.bincount(LABELS[chosen], minlength=4) - share) < 1 + 1e-9)


def test_drawn_by_seed():
    assert np.array_equal(stratified(LABELS, 50, 1), stratified(LABELS, 50, 1))
    assert not np.array_equal(stratified(LABELS, 50, 1), stratified(LABELS, 50, 2))
    counts = sum(np.bincount(stratified(LABELS, 100, seed), minlength=1000) for seed in range(300))
    assert counts.min() > 5 and counts.max() < 65  # every image is drawn about 30 times: mean 30, sd 5


def test_hold_out_is_a_partition():
    kept, held = hold_out(arrays(), 0.1, seed=0)
    assert len(held) == 100 and sorted([*kept.index, *held.index]) == list(range(1000))
    np.testing.assert_array_equal(held.labels, LABELS[held.index])


def test_nothing_held_out():
    everything = arrays()
    kept, held = hold_out(everything, 0, seed=0)
    assert kept is everything and held is None


def test_too_small_to_hold_out():
    with pytest.raises(InputError, match="val_fraction"):
        hold_out(arrays(LABELS[:4]), 0.1, seed=0)


def test_shortened():
    assert len(shortened(arrays(), 20, 0, "train_size")) == 20
    with pytest.raises(InputError, match=r"dataset\.test_size=1001 .* at most 1000"):
        shortened(arrays(), 1001, 0, "test_size")
