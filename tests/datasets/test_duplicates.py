"""Images in two splits, told, dropped or refused."""

import shutil

import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets import duplicates
from zoomexp.datasets.image_folder import ImageFolder
from zoomexp.errors import InputError

SMALL = {"batch_size": 2, "mean": [0] * 3, "std": [1] * 3, "image_size": 8, "augment": "none", "val_fraction": 0}
COPIED = "train/cat/1.png = test/cat/again.png"


@pytest.fixture
def root(tmp_path):
    noise = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    shutil.copy(tmp_path / "images/train/cat/1.png", tmp_path / "images/test/cat/again.png")
    (tmp_path / "images/val/dog/9.png").symlink_to(tmp_path / "images/train/dog/2.png")
    shutil.copy(
        tmp_path / "images/train/dog/5.png", tmp_path / "images/train/dog/within.png"
    )  # in one split: no matter
    return tmp_path / "images"


def ready(root, **options):
    data = ImageFolder(data_dir=root.parent, **{**SMALL, **options})
    data.setup()
    return data


def test_they_are_told(root):
    data = ready(root)
    assert data.notes == (
        f"2 images stand in two splits, for example {COPIED} (dataset.on_duplicate=drop leaves them out)",
    )
    assert len(data.part("train")) == 13


def test_they_are_dropped(root):
    data = ready(root, on_duplicate="drop")
    assert [len(data.part(name)) for name in ("train", "val", "test")] == [11, 7, 7] and data.notes == ()
    assert data.passed_over == dict.fromkeys(["train/cat/1.png", "train/dog/2.png"], "also in a later split")
    assert ready(root, on_duplicate="drop").part("train").fingerprint() == data.part("train").fingerprint()


def test_they_are_refused(root):
    with pytest.raises(
        InputError, match=rf"dataset.on_duplicate=fail: 2 images stand in two splits, for example {COPIED}"
    ):
        ready(root, on_duplicate="fail")


def test_a_class_that_would_be_lost(root):
    for path in (root / "train" / "cat").iterdir():
        shutil.copy(path, root / "val" / "cat" / f"copy_{path.name}")
    with pytest.raises(InputError, match="all train images of class number 0 are in a later split"):
        ready(root, on_duplicate="drop")


def test_they_are_not_looked_for_in_a_large_set_which_is_said_to_who_asked(root, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST", 10)
    assert ready(root).notes == ()
    for choice in ("drop", "fail"):
        (note,) = ready(root, on_duplicate=choice).notes
        assert note == f"dataset.on_duplicate={choice}: no image is looked for in two splits of more than 10"
