import shutil

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


@pytest.mark.parametrize("change", ["root", "test", "class", "more", "empty", "no classes"])
def test_a_folder_that_cannot_be_used(tmp_path, change):
    root = lay_out(tmp_path / "images")
    if change == "more":
        shutil.copytree(root / "test" / "dog", root / "test" / "eel")
    elif change == "empty":
        shutil.rmtree(root / "train" / "dog")
        (root / "train" / "dog").mkdir()
    else:
        gone = {"root": root, "test": root / "test", "class": root / "test" / "dog", "no classes": root / "test"}[
            change
        ]
        shutil.rmtree(gone)
    if change == "no classes":
        (root / "test").mkdir()
    expected = {
        "root": f"{root}/train is not there",
        "test": f"{root}/test is not there",
        "class": "class 'dog' is in train and not in test",
        "more": "class 'eel' is in test and not in train",
        "empty": f"{root}/train/dog has no images",
        "no classes": f"{root}/test has no class folders",
    }
    with pytest.raises(InputError) as error:
        ready(tmp_path)
    message = str(error.value)
    assert message.startswith("dataset=image_folder: ") and expected[change] in message and "\n" not in message
