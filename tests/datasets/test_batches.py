import math

import numpy as np
import pytest

from zoomexp.datasets.batches import ShardedBatches


@pytest.mark.parametrize("count", [50, 49, 48, 47])
@pytest.mark.parametrize("batch_size", [2, 4, 6, 12, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_evaluation_shards_hold_every_image_once(count, batch_size, world_size):
    made = [ShardedBatches(count, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    batches = [list(rank) for rank in made]
    assert {len(rank) for rank in batches} == {len(made[0])}
    assert sorted(position for rank in batches for batch in rank for _, position in batch) == list(range(count))
    assert all(1 <= len(batch) <= batch_size for rank in batches for batch in rank)


def test_training_shards_are_disjoint_and_equally_long():
    made = [ShardedBatches(50, 5, training=True, rank=rank, world_size=3) for rank in range(3)]
    shards = [[position for batch in rank for _, position in batch] for rank in made]
    assert [len(shard) for shard in shards] == [15] * 3 and len(set().union(*shards)) == 45
    assert [len(rank) for rank in made] == [3] * 3


@pytest.mark.parametrize(("count", "batch_size", "last"), [(50_000, 128, 80), (60_000, 128, 96), (96, 8, 8)])
def test_the_last_batch_may_stay(count, batch_size, last):
    """CNNtention's 391 and 469 steps an epoch."""
    kept = ShardedBatches(count, batch_size, training=True, drop_last=False)
    sizes = [len(batch) for batch in kept]
    assert sum(sizes) == count and len(sizes) == len(kept) == -(-count // batch_size)
    assert sizes[-1] == kept.smallest_batch == last
    dropped = ShardedBatches(count, batch_size, training=True)
    assert len(dropped) == count // batch_size and dropped.smallest_batch == batch_size


def test_the_processes_last_batches_are_equally_large():
    made = [ShardedBatches(50, 6, training=True, drop_last=False, rank=rank, world_size=3) for rank in range(3)]
    assert [[len(batch) for batch in rank] for rank in made] == [[6, 6, 4]] * 3


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_image_of_an_epoch_comes_as_often_as_asked_and_never_alike(world_size):
    seen = []
    for epoch in range(2):
        options = {"training": True, "world_size": world_size, "repeats": 3}
        made = [ShardedBatches(48, 4, rank=rank, **options) for rank in range(world_size)]
        for rank in made:
            rank.set_epoch(epoch)
        assert {len(list(rank)) for rank in made} == {len(made[0])} == {48 // world_size // 4}
        steps = [[key for batch in together for key in batch] for together in zip(*made, strict=True)]
        keys = [key for step in steps for key in step]
        images = {position for _, position in keys}
        assert len(images) == 16 and len(keys) == 48
        assert set(keys) == {(3 * epoch + copy, position) for position in images for copy in range(3)}
        most = math.ceil(4 * world_size / 3) + 1
        assert all(len({position for _, position in step}) <= most for step in steps)  # copies meet in a step or two
        seen.append((set(keys), images))
    assert not seen[0][0] & seen[1][0] and seen[0][1] != seen[1][1]


@pytest.mark.parametrize("count", [47, 50])
@pytest.mark.parametrize("repeats", [1, 2, 3, 60])
def test_repeats_keep_an_epochs_length(count, repeats):
    options = {"training": True, "world_size": 2, "repeats": repeats}
    made = [ShardedBatches(count, 5, rank=rank, **options) for rank in range(2)]
    keys = [key for rank in made for batch in rank for key in batch]
    assert len(keys) == len(set(keys)) == 2 * 5 * (count // 10)
    assert len({position for _, position in keys}) <= math.ceil(count / repeats)
    evaluation = ShardedBatches(count, 5, repeats=repeats)
    assert [key for batch in evaluation for key in batch] == [(0, i) for i in range(count)]


LABELS = np.array([0] * 70 + [1] * 20 + [2] * 7)


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_balanced_epoch_has_as_many_of_each_class(world_size):
    seen = []
    for epoch in (0, 1):
        keys = []
        for rank in range(world_size):
            batches = ShardedBatches(97, 8, training=True, seed=1, labels=LABELS, rank=rank, world_size=world_size)
            batches.set_epoch(epoch)
            keys += [key for batch in batches for key in batch]
            assert [len(batch) for batch in batches] == [8] * len(batches)
        counts = np.bincount(LABELS[[position for _, position in keys]])
        assert abs(counts - len(keys) / 3).max() <= 9 and len(set(keys)) == len(keys)  # what the last batch lacks
        seen.append(set(keys))
    assert not seen[0] & seen[1]


def test_images_of_a_small_class_come_equally_often():
    batches = ShardedBatches(97, 1, training=True, labels=LABELS)
    keys = [key for batch in batches for key in batch]
    positions = np.array([position for _, position in keys])
    assert sorted(np.bincount(LABELS[positions])) == [32, 32, 33]
    often = np.bincount(positions, minlength=97)
    for label, count in ((0, 70), (1, 20), (2, 7)):
        own = often[np.flatnonzero(label == LABELS)]
        assert len(own) == count and own.max() - own.min() <= 1
    assert {draw for draw, position in keys if position >= 90} == set(range(5))
