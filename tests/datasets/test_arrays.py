import pickle
import zipfile

import numpy as np
import pytest

from zoomexp.datasets.arrays import ImageArrays, Splits, load_cache, save_cache
from zoomexp.errors import InputError

CLASSES = ("cat", "dog", "owl")


def part(count, channels=3, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 5, 5, channels), dtype=np.uint8)
    return ImageArrays(images, generator.integers(0, 3, count))


@pytest.fixture
def cache(tmp_path):
    path = tmp_path / "new" / "toy.npz"
    save_cache(path, Splits(part(9), part(4, seed=1), CLASSES))
    return path


def rewrite(path, **changes):
    with np.load(path) as file:
        arrays = {**dict(file), **changes}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


def one_line(path):
    with pytest.raises(InputError) as error:
        load_cache(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{path} is damaged: ")
    return str(error.value)


def test_cache_round_trip(cache):
    loaded = load_cache(cache)
    np.testing.assert_array_equal(loaded.train.images, part(9).images)
    np.testing.assert_array_equal(loaded.test.labels, part(4, seed=1).labels)
    assert loaded.train.labels.dtype == np.int64 and loaded.classes == CLASSES
    assert [file.name for file in cache.parent.iterdir()] == ["toy.npz"]


def test_failed_write_leaves_the_old_cache(cache, monkeypatch):
    before = cache.read_bytes()
    monkeypatch.setattr(np, "savez", half_written)
    with pytest.raises(OSError, match="full"):
        save_cache(cache, Splits(part(2), part(2), CLASSES))
    assert cache.read_bytes() == before and len(list(cache.parent.iterdir())) == 1


def half_written(file, **_):
    file.write(b"half")
    raise OSError("full")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated(cache, keep):
    content = cache.read_bytes()
    cache.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    one_line(cache)


def test_flipped_bytes(cache):
    content = bytearray(cache.read_bytes())
    content[300:320] = bytes(20)
    cache.write_bytes(content)
    one_line(cache)


def test_other_files(cache):
    np.save(cache.with_suffix(".npy"), np.zeros(3))
    cache.write_bytes(cache.with_suffix(".npy").read_bytes())
    one_line(cache)
    cache.write_bytes(pickle.dumps({"train_images": 1}))
    one_line(cache)
    cache.unlink()
    cache.mkdir()
    one_line(cache)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train_images": np.zeros((9, 5, 5, 3), np.float32)}, "train_images is float32, not uint8"),
        ({"test_images": np.zeros((4, 5, 5), np.uint8)}, "test_images is (4, 5, 5), not"),
        ({"train_images": np.zeros((9, 5, 6, 3), np.uint8)}, "train_images is (9, 5, 6, 3), not"),
        ({"train_images": np.zeros((9, 5, 5, 4), np.uint8)}, "train_images is (9, 5, 5, 4), not"),
        ({"test_images": np.zeros((4, 6, 6, 3), np.uint8)}, "train_images are (5, 5, 3) and test_images (6, 6, 3)"),
        ({"train_labels": np.zeros(8, np.int64)}, "train_labels is int64 (8,), not (9,) int64"),
        ({"train_labels": np.zeros(9)}, "train_labels is float64"),
        ({"test_labels": np.full(4, 3)}, "test_labels runs from 3 to 3, outside 0..2"),
        ({"test_labels": np.full(4, -1)}, "test_labels runs from -1"),
        ({"classes": np.arange(3)}, "classes is int64"),
        ({"classes": None}, "classes"),
    ],
)
def test_wrong_content(cache, changes, named):
    rewrite(cache, **changes)
    assert named in one_line(cache)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_nothing_is_unpickled(cache):
    rewrite(cache, train_labels=np.array([Bomb()] * 9, dtype=object))
    with zipfile.ZipFile(cache) as file:
        assert b"unpickled" in file.read("train_labels.npy")
    one_line(cache)


def test_padding_moves_boxes_and_take_keeps_the_index():
    arrays = ImageArrays(part(4).images, part(4).labels, np.float32([[0, 1, 2, 3]] * 4))
    padded = arrays.padded(2).take(np.array([3, 1]))
    assert padded.index.tolist() == [3, 1] and padded.boxes.tolist() == [[2, 3, 4, 5]] * 2
    np.testing.assert_array_equal(padded.images[:, 2:-2, 2:-2], arrays.images[[3, 1]])
    assert padded.images.sum() == arrays.images[[3, 1]].sum()
