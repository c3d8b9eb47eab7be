import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoomexp.datasets.image_folder import ImageFolder
from zoomexp.errors import InputError

SMALL = {"batch_size": 2, "mean": [0, 0, 0], "std": [1, 1, 1], "image_size": 8, "augment": "none"}
COUNTS = {"train": 6, "test": 3}


def lay_out(root, counts=COUNTS, classes=("cat", "dog")):
    """Class folders of plain images, their value telling the class."""
    for split, count in counts.items():
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                suffix = (".jpg", ".PNG", ".bmp")[i % 3]
                Image.fromarray(np.full((20, 30), 60 + 100 * label, np.uint8)).save(folder / f"{i}{suffix}")
    return root


def ready(data_dir, **options):
    data = ImageFolder(data_dir=data_dir, **{**SMALL, **options})
    data.setup()
    return data


def test_reads_what_is_there(tmp_path):
    root = lay_out(tmp_path / "images")
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    (root / "train" / "cat" / ".hidden.jpg").write_text("no image")
    (root / "train" / ".cache").mkdir()
    (root / "train" / "readme.md").touch()
    data = ready(tmp_path, val_fraction=0.25)
    assert data.classes == ("cat", "dog") and not data.has_boxes
    assert {part: len(files) for part, files in data._parts.items()} == {"train": 9, "val": 3, "test": 6}
    batch = next(iter(data.test_dataloader()))
    assert batch["label"].tolist() == [0] * 3 + [1] * 3 and set(batch) == {"image", "label", "index"}
    torch.testing.assert_close(batch["image"].mean((1, 2, 3)) * 255, 60.0 + 100 * batch["label"], rtol=0, atol=1)


def test_a_validation_split_of_its_own(tmp_path):
    lay_out(tmp_path / "elsewhere", {**COUNTS, "val": 2})
    data = ready(tmp_path / "data", folder=str(tmp_path / "elsewhere"))
    assert {part: len(files) for part, files in data._parts.items()} == {"train": 12, "val": 4, "test": 6}
    assert "elsewhere/val/" in str(data._parts["val"].path(0))
    assert ready(tmp_path, folder="elsewhere", validate_on="test")._parts["val"] is not data._parts["val"]


def test_names_that_are_not_ascii(tmp_path):
    lay_out(tmp_path / "images", classes=("čáp", "žluna 2"))
    assert ready(tmp_path).classes == ("čáp", "žluna 2")
    assert len(next(iter(ready(tmp_path).test_dataloader()))["label"]) == 6


@pytest.mark.parametrize("change", ["root", "train", "class", "more", "empty", "no classes"])
def test_a_folder_that_cannot_be_used(tmp_path, change):
    root = lay_out(tmp_path / "images")
    if change == "more":
        shutil.copytree(root / "test" / "dog", root / "test" / "eel")
    elif change == "empty":
        shutil.rmtree(root / "train" / "dog")
        (root / "train" / "dog").mkdir()
    else:
        gone = {"root": root, "train": root / "train", "class": root / "test" / "dog", "no classes": root / "test"}[
            change
        ]
        shutil.rmtree(gone)
    if change == "no classes":
        (root / "test").mkdir()
    expected = {
        "root": f"{root}/train is not there",
        "train": f"{root}/train is not there",
        "class": "class 'dog' is in train and not in test",
        "more": "class 'eel' is in test and not in train",
        "empty": f"{root}/train/dog has no images",
        "no classes": f"{root}/test has no class folders",
    }
    with pytest.raises(InputError) as error:
        ready(tmp_path)
    message = str(error.value)
    assert message.startswith("dataset=image_folder: ") and expected[change] in message and "\n" not in message


@pytest.mark.parametrize("name", ["val", "Val", "valid", "VALIDATION"])
def test_validation_folders_by_other_names(tmp_path, name):
    lay_out(tmp_path / "images", {**COUNTS, name: 2})
    data = ready(tmp_path)
    assert {part: len(files) for part, files in data._parts.items()} == {"train": 12, "val": 4, "test": 6}
    assert f"/{name}/" in str(data.part("val").path(0)) and data.passed_over == {}


def test_two_folders_for_one_split(tmp_path):
    root = lay_out(tmp_path / "images", {**COUNTS, "val": 2, "valid": 2})
    with pytest.raises(InputError, match=rf"{root}: val and valid are both there; there must be one val folder"):
        ready(tmp_path)


def test_every_suffix_in_any_case_and_folders_in_class_folders(tmp_path):
    root = lay_out(tmp_path / "images", {"train": 1, "test": 1})
    picture, names = Image.new("RGB", (20, 30)), ["a b.jfif", "c.JPE", "d.avif", "é.jp2", "f.TIFF", "g.webp", "h.gif"]
    deep = root / "train" / "cat" / "more" / "and more"
    deep.mkdir(parents=True)
    for name in names:
        picture.save(deep / name, format=None if Path(name).suffix.lower() != ".jpe" else "JPEG")
    data = ready(tmp_path, val_fraction=0)
    files = data.part("train")
    found = [files.name(i) for i in range(len(files))]
    assert found == ["cat/0.jpg", *(f"cat/more/and more/{name}" for name in sorted(names)), "dog/0.jpg"]
    assert data.passed_over == {} and len(list(data.train_dataloader())) == 4


def test_what_is_passed_over_is_named_with_the_reason(tmp_path):
    root = lay_out(tmp_path / "images")
    cat = root / "train" / "cat"
    for name in (".DS_Store", "._0.jpg", "notes.txt", "photo.heic", "no_ending"):
        (cat / name).write_text("no image")
    (cat / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (cat / "around").symlink_to(root / "train" / "cat", target_is_directory=True)
    os.mkfifo(cat / "pipe.jpg")
    Image.new("L", (9, 9)).save(root / "test" / "loose.png")
    (root / "extra").mkdir()
    (root / "train" / "__MACOSX").mkdir()
    assert ready(tmp_path).passed_over == {
        "extra": "no split folder",
        "test/loose.png": "image outside class folders",
        "train/__MACOSX": "left by the operating system",
        "train/cat/.DS_Store": "hidden",
        "train/cat/._0.jpg": "hidden",
        "train/cat/around": "link to a folder around it",
        "train/cat/gone.jpg": "dangling link",
        "train/cat/no_ending": "no image by its name (no ending)",
        "train/cat/notes.txt": "no image by its name (.txt)",
        "train/cat/photo.heic": "no image by its name (.heic)",
        "train/cat/pipe.jpg": "no regular file",
    }


def test_a_class_of_nothing_but_what_is_passed_over(tmp_path):
    root = lay_out(tmp_path / "images")
    for path in (root / "train" / "dog").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(
        InputError, match=rf"{root}/train/dog has no images \(6 passed over: no image by its name \(.hei"
    ):
        ready(tmp_path)


def test_links_to_images_and_folders_are_followed(tmp_path):
    lay_out(tmp_path / "store")
    (tmp_path / "images").symlink_to(tmp_path / "store", target_is_directory=True)
    inside = tmp_path / "store" / "train" / "cat" / "linked.jpg"
    inside.symlink_to(tmp_path / "store" / "train" / "cat" / "0.jpg")
    assert len(ready(tmp_path, val_fraction=0).part("train")) == 13


def test_names_that_are_no_text(tmp_path):
    root = lay_out(tmp_path / "images")
    for split in ("train", "test"):
        os.rename(os.fsencode(root / split / "dog"), os.fsencode(root / split) + b"/d\xffg")  # noqa: PTH104
    data = ready(tmp_path)
    assert data.classes == ("cat", "d\\xffg")
    assert data.part("test").name(3) == "d\\xffg/0.jpg"
    assert len(next(iter(data.test_dataloader()))["label"]) == 6


def sizes(data):
    return {part: len(files) for part, files in data._parts.items()}


def test_class_folders_alone_are_parted_here(tmp_path):
    lay_out(tmp_path, {"images": 10})
    (tmp_path / "images" / "readme.md").touch()
    data = ready(tmp_path, val_fraction=0.25)
    assert data.classes == ("cat", "dog") and sizes(data) == {"train": 12, "val": 4, "test": 4}
    assert data.notes[0] == "tested on 20 % of the images, held out (dataset.test_fraction)"  # then, of copies
    assert data.passed_over == {"images/readme.md": "no image by its name (.md)"}
    parts = [data.part(name) for name in ("train", "val", "test")]
    assert sorted(np.concatenate([part.index for part in parts])) == list(range(20))
    assert all(np.bincount(part.labels).tolist() == [len(part) // 2] * 2 for part in parts)
    assert np.array_equal(ready(tmp_path, val_fraction=0.25).part("test").index, parts[2].index)
    assert not np.array_equal(ready(tmp_path, val_fraction=0.25, split_seed=1).part("test").index, parts[2].index)
    assert len(ready(tmp_path, test_fraction=0.5).part("test")) == 10


def test_train_and_val_alone(tmp_path):
    lay_out(tmp_path / "images", {"train": 10, "val": 3})
    data = ready(tmp_path, val_fraction=0.2)
    assert sizes(data) == {"train": 16, "val": 4, "test": 6}
    assert "/val/" in str(data.part("test").path(0)) and "/train/" in str(data.part("val").path(0))
    assert data.notes[0] == "tested on val, there is no test folder; validation is held out of train"


def test_train_alone(tmp_path):
    lay_out(tmp_path / "images", {"train": 10})
    assert sizes(ready(tmp_path)) == {"train": 14, "val": 2, "test": 4}


def test_folds_together_are_all_training_images(tmp_path):
    lay_out(tmp_path / "images", {"train": 7, "val": 3, "test": 2})
    tested = [ready(tmp_path, fold=fold, folds=4).part("test") for fold in range(4)]
    names = [files.name(i) for files in tested for i in range(len(files))]
    assert len(names) == len(set(names)) == 20 and {name.split("/")[0] for name in names} == {"train", "val"}
    assert sorted(np.concatenate([files.index for files in tested])) == list(range(20))
