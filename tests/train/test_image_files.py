"""A run on a user's own images: what it says of them, and what its folder says of each."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from zoomexp.cli import folds

BASE = ("dataset=image_folder", "backbone=resnet20", "attention=none", "dataset.image_size=32", "dataset.batch_size=4",
        "trainer.max_epochs=1", "dataset.val_fraction=0.25", "logger=none")  # fmt: skip


@pytest.fixture
def own(tmp_path):
    """Images of two classes, eight and four each, and files beside them that are no images."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name in ("gr\u00fcn", "red one"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(noise.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "images" / "train" / "red one" / ".DS_Store").write_text("no image")
    (tmp_path / "images" / "test" / "gr\u00fcn" / "readme.txt").write_text("no image")
    return tmp_path


def test_what_is_read_and_what_was_wrong_stands_in_the_folder(train, facts, folders, own):
    ended = train(f"data_dir={own}", base=BASE)
    assert ended.code == 0, ended.err
    said = [line for line in ended.out.splitlines() if line.startswith("data: ")]
    assert said == [
        "data: 2 classes; train 12 (gr\u00fcn 6, red one 6), val 4 (gr\u00fcn 2, red one 2), test 8 (gr\u00fcn 4, "
        "red one 4); passed over 2: 1 no image by its name (.txt) (test/gr\u00fcn/readme.txt), 1 hidden "
        "(train/red one/.DS_Store)"
    ]
    assert facts()["data"] == {
        "classes": 2, "images": {"train": 12, "val": 4, "test": 8}, "notes": [],
        "passed_over": {"hidden": 1, "no image by its name (.txt)": 1},
    }  # fmt: skip
    (folder,) = folders()
    data = json.loads((folder / "data.json").read_text())
    assert data["classes"] == ["gr\u00fcn", "red one"] and data["images"]["test"] == {"gr\u00fcn": 4, "red one": 4}
    assert data["passed_over"]["train/red one/.DS_Store"] == "hidden"
    table = pd.read_csv(folder / "predictions.csv")
    assert table["file"].tolist() == [f"{name}/{i}.png" for name in data["classes"] for i in range(4)]
    assert table["class"].tolist() == [data["classes"][label] for label in table["label"]]
    assert 100 * table["right"].mean() == pytest.approx(facts()["metrics"]["test/acc1"], abs=1e-4)
    assert (table["confidence"] >= table["label_confidence"]).all() and (table["confidence"] <= 1).all()
    assert (table["confidence"][table["right"]] == table["label_confidence"][table["right"]]).all()


@pytest.mark.parametrize("how", ["fail", "skip"])
def test_an_image_cut_short(train, facts, own, tmp_path, how):
    path = own / "images" / "test" / "red one" / "2.png"
    path.write_bytes(path.read_bytes()[:-300])
    ended = train(f"data_dir={own}", f"dataset.on_bad_image={how}", base=BASE)
    if how == "fail":
        assert (ended.code, ended.out) == (2, "") and not (tmp_path / "out").exists()
        assert re.fullmatch(rf"error: {path} cannot be read .*; .* dataset.on_bad_image=skip\n", ended.err)
        return
    assert (
        ended.code == 0
        and "1 cannot be read as an image: it is damaged or cut short (test/red one/2.png" not in ended.err
    )
    assert facts()["data"]["images"]["test"] == 7
    assert facts()["data"]["passed_over"]["cannot be read as an image: it is damaged or cut short"] == 1


def test_classes_of_unequal_size(train, facts, own):
    for i in range(5):
        (own / "images" / "train" / "red one" / f"{i}.png").unlink()
    ended = train(f"data_dir={own}", "dataset.sampler=balanced", "loss.class_weights=balanced", base=BASE)
    assert ended.code == 0, ended.err
    assert facts()["data"]["images"]["train"] == 8


def test_one_class(train, own, tmp_path):
    for split in ("train", "test"):
        (own / "images" / split / "gr\u00fcn").rename(own / "images" / f"{split}-gone")
    ended = train(f"data_dir={own}", base=BASE)
    assert (ended.code, ended.out) == (2, "") and not (tmp_path / "out").exists()
    assert ended.err == "error: dataset: there is one class only; a classifier needs at least two\n"


def test_a_cross_validation(train, folders, own, capfd):
    for fold in range(3):
        ended = train(f"data_dir={own}", "dataset.folds=3", f"dataset.fold={fold}", base=BASE)
        assert ended.code == 0, ended.err
        assert f"; tested on fold {fold} of 3 (0 to 2) of the training images; the test split is not used" in ended.out
    capfd.readouterr()
    folds.main([f"run={folders()[1]}"])
    *shown, table, joined = capfd.readouterr().out.splitlines()
    rows = pd.read_csv(joined)
    assert sorted(rows["file"]) == sorted(f"{name}/{i}.png" for name in ("gr\u00fcn", "red one") for i in range(8))
    assert rows["fold"].value_counts().tolist() == [6, 5, 5] and len(shown) == 7
    over = pd.read_csv(table).set_index("fold")
    assert over["test/acc1"]["all images"] == pytest.approx(100 * rows["right"].mean(), abs=1e-3)
    assert {"test/balanced_acc", "test/macro_f1", "test/loss"} <= set(over)
