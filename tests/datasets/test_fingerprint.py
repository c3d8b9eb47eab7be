"""The fingerprint of data: the same for a copy, another one for every change that a run would see."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from zoomexp.datasets import fingerprint
from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.coco_annotations import Annotated
from zoomexp.datasets.fingerprint import data_fingerprint, of_split
from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.scene_files import SceneFiles
from zoomexp.datasets.scenes import Scenes


@pytest.fixture
def files(tmp_path):
    """Six files of one size in two classes."""
    names = [f"{name}/{number}.bmp" for name in "ab" for number in range(3)]
    for number, name in enumerate(names):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(bytes([number]) * 10)
    return ImageFiles(tmp_path / "here", np.array([name.encode() for name in names]), np.repeat([0, 1], 3))


def test_a_copy_is_the_same_data(files, tmp_path):
    shutil.copytree(files.root, tmp_path / "there")
    assert of_split(replace(files, root=tmp_path / "there")) == of_split(files)


def test_files_whose_folders_were_swapped_are_not(files):
    before = of_split(files)
    (files.root / "a").rename(files.root / "c")
    (files.root / "b").rename(files.root / "a")
    (files.root / "c").rename(files.root / "b")
    assert of_split(files) != before


@pytest.mark.parametrize("most", [2**26, 20])
def test_a_byte_of_the_last_file_counts(files, monkeypatch, most):
    monkeypatch.setattr(fingerprint, "BYTES", most)
    before = of_split(files)
    files.path(5).write_bytes(bytes([5] * 9 + [6]))
    assert of_split(files) != before


def test_a_size_counts_whatever_is_read(files, monkeypatch):
    monkeypatch.setattr(fingerprint, "BYTES", 1)
    before = of_split(files)
    files.path(3).write_bytes(bytes(11))
    assert of_split(files) != before


def arrays():
    images = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    return ImageArrays(images, np.array([0, 1, 0, 1]), np.arange(16, dtype=np.float32).reshape(4, 4))


@pytest.mark.parametrize("name", ["images", "labels", "boxes", "index"])
def test_each_array_counts(name):
    one, other = arrays(), arrays()
    assert of_split(one) == of_split(other)
    getattr(other, name)[-1] += 1
    assert of_split(one) != of_split(other)


def test_large_arrays_are_sampled_with_their_ends(monkeypatch):
    monkeypatch.setattr(fingerprint, "BYTES", 2 * 12)
    one, other = arrays(), arrays()
    other.images[1] += 1  # not among the two that are read
    assert of_split(one) == of_split(other)
    other.images[3] += 1
    assert of_split(one) != of_split(other)


def test_of_a_data_module():
    part = {"train": arrays(), "val": None, "test": arrays()}.get
    found = data_fingerprint(SimpleNamespace(part=part, classes=("a", "b")))
    assert found["train"] == found["test"] == of_split(arrays()) and "val" not in found
    assert found["kind"] == "arrays"
    assert data_fingerprint(SimpleNamespace(part=part, classes=("b", "a")))["classes"] != found["classes"]
    assert data_fingerprint(SimpleNamespace()) is None


def test_scenes_in_memory():
    def made():
        images = np.zeros((2, 4, 4, 1), np.uint8)
        return Scenes(images, np.array([1, 2]), np.zeros((3, 4), np.float32), np.array([0, 1, 1]))

    for name in ("images", "counts", "boxes", "labels"):
        one, other = made(), made()
        assert of_split(one) == of_split(other)
        getattr(other, name)[-1] += 1
        assert of_split(one) != of_split(other), name


def test_scenes_in_files(tmp_path):
    def made():
        arrays = {name: np.zeros(3, np.float32) for name in ("boxes", "labels", "crowd", "area")}
        of_images = {"ids": np.arange(2), "sizes": np.ones((2, 2)), "counts": np.array([1, 2])}
        changes = {name: np.zeros(1, np.int64) for name in ("skipped", "cut", "unmeasured")}
        names = np.array([b"0.jpg", b"1.jpg"])
        return SceneFiles(tmp_path, Annotated(names, **of_images, **arrays, classes=np.array(["a"]), **changes),
                          np.array([0, 1]))  # fmt: skip

    for name in ("0.jpg", "1.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    before = data_fingerprint(SimpleNamespace(scenes=lambda split: made(), classes=("a",)))
    assert before["kind"] == "files"
    changed = made()
    changed.annotated.boxes[2] += 1
    assert of_split(changed) != before["test"] == of_split(made())
    (tmp_path / "1.jpg").write_bytes(b"2.jpg")
    assert of_split(made()) != before["test"]
