"""Images that cannot be read: refused before a run, or left out, counted and named."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets import inspection
from zoomexp.datasets.image_folder import ImageFolder
from zoomexp.datasets.inspection import ends_well, flaw
from zoomexp.errors import InputError

SMALL = {"batch_size": 2, "mean": [0, 0, 0], "std": [1, 1, 1], "image_size": 8, "augment": "none", "val_fraction": 0}


@pytest.fixture
def root(tmp_path):
    """Twelve training and six test images of two classes, noise."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = noise.integers(0, 256, (40, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}{('.jpg', '.png', '.webp')[i % 3]}")
    return tmp_path / "images"


def ready(root, **options):
    data = ImageFolder(data_dir=root.parent, **{**SMALL, **options})
    data.setup()
    return data


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


BAD = {
    "cut jpg": ("train/cat/0.jpg", cut, "it is damaged or cut short"),
    "cut png": ("test/dog/1.png", cut, "it is damaged or cut short"),
    "cut webp": ("train/dog/2.webp", cut, "it is damaged or cut short"),
    "changed png": ("train/dog/1.png", change_a_byte, "it is damaged or cut short"),
    "empty": ("test/cat/0.jpg", lambda path: path.write_bytes(b""), "it is empty"),
    "text": ("train/cat/3.jpg", lambda path: path.write_text("<html>404</html>"), "it is damaged or cut short"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_image_is_refused_before_the_run(root, case):
    name, spoil, why = BAD[case]
    spoil(root / name)
    with pytest.raises(InputError) as error:
        ready(root)
    assert str(error.value) == (
        f"{root / name} cannot be read as an image: {why}; put a sound copy in its place, "
        "or leave such files out: dataset.on_bad_image=skip"
    )


def test_bad_images_are_left_out_and_named(root):
    for name, spoil, _ in BAD.values():
        spoil(root / name)
    data = ready(root, on_bad_image="skip")
    assert data.passed_over == {name: f"cannot be read as an image: {why}" for name, _, why in BAD.values()}
    assert {part: len(data.part(part)) for part in ("train", "test")} == {"train": 8, "test": 4}
    for loader in (data.train_dataloader(), data.test_dataloader()):
        assert all(len(batch["image"]) for batch in loader)
    assert "train/cat/0.jpg" not in [data.part("train").name(i) for i in range(8)]


def test_a_class_or_split_that_loses_all_its_images(root):
    for path in (root / "test" / "dog").iterdir():
        cut(path)
    with pytest.raises(InputError, match=r"on_bad_image=skip: class 'dog' has no test image left, 3 of the split"):
        ready(root, on_bad_image="skip")


def test_files_that_may_not_be_read(root, monkeypatch):
    """Root may read everything: the system's answer is given by hand."""
    path, opened = root / "train" / "cat" / "0.jpg", io.open

    def refuse(file, *args, **kwargs):
        if os.fspath(file) == str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return opened(file, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"0.jpg cannot be read \(Permission denied\); see to its permissions"):
        ready(root)
    assert ready(root, on_bad_image="skip").passed_over == {"train/cat/0.jpg": "cannot be read (Permission denied)"}


def test_of_a_large_set_only_doubtful_images_are_decoded(root, monkeypatch):
    monkeypatch.setattr(inspection, "DECODED", 0)
    change_a_byte(root / "train" / "dog" / "1.png")
    ready(root)
    cut(root / "train" / "dog" / "4.png")
    with pytest.raises(InputError, match=r"train/dog/4.png cannot be read"):
        ready(root)


def test_of_a_large_set_some_images_are_looked_at_and_all_that_may_be_wide(root, monkeypatch):
    monkeypatch.setattr(inspection, "CHECKED", 2)
    files = ready(root).part("train")
    assert inspection.looked_at(files).tolist() == [0, 6]
    Image.fromarray(np.float32([[0.5]])).save(root / "train" / "cat" / "z.tif")
    with pytest.raises(InputError, match=r"z.tif has 32-bit values"):
        ready(root)


@pytest.mark.parametrize(("ending", "whole"), [(".jpg", True), (".png", True), (".gif", True), (".webp", False)])
def test_the_end_of_a_file(tmp_path, ending, whole):
    path = tmp_path / f"a{ending}"
    Image.new("RGB", (9, 9)).save(path)
    with Image.open(path) as image:
        kind = image.format
    assert ends_well(path, kind) == whole
    path.write_bytes(path.read_bytes() + b"\0\0\0")  # harmless: what follows the end is not read
    assert not ends_well(path, kind) and flaw(path, whole=False) is None


def test_an_option_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"dataset.on_bad_image='ignore' must be one of fail, skip"):
        ImageFolder(data_dir=tmp_path, **SMALL, on_bad_image="ignore")
    assert Path(tmp_path).is_dir()
