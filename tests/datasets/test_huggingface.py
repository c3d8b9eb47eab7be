"""Data sets of the library `datasets`, made here: Parquet files, folders, and what is written by `save_to_disk`."""

import importlib.util
import sys

import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets.groups import crossing
from zoomexp.datasets.huggingface import HuggingFace
from zoomexp.errors import InputError

SMALL = {"batch_size": 2, "mean": [0] * 3, "std": [1] * 3, "image_size": 8, "augment": "none"}
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="needs Hugging Face's datasets"),
    pytest.mark.filterwarnings("ignore"),  # of the library and of what it imports
]


def rows(count, green=0, **more):
    from datasets import ClassLabel, Dataset, Features, Value
    from datasets import Image as ImageFeature

    pictures = [Image.new("RGB", (10, 8), (10 * i, green, 0)) for i in range(count)]
    values = {"image": pictures, "label": [i % 2 for i in range(count)], **more}
    kinds = {"image": ImageFeature(), "label": ClassLabel(names=["cat", "dog"])}
    kinds |= {name: Value("string") for name in more if name == "group"}
    features = Features(kinds) if set(kinds) == set(values) else None
    return Dataset.from_dict(values, features=features)


def ready(folder, path, **options):
    data = HuggingFace(data_dir=folder, path=path, **{**SMALL, **options})
    data.prepare_data()
    return data


def check(data):
    batch = next(iter(data.test_dataloader()))
    for image, label, index in zip(batch["image"], batch["label"].tolist(), batch["index"].tolist(), strict=True):
        assert round(255 * float(image[0, 4, 4])) == 10 * index and label == index % 2


def test_a_parquet_file_is_parted_here(tmp_path):
    rows(20).to_parquet(tmp_path / "birds.parquet")
    data = ready(tmp_path, "birds.parquet", val_fraction=0.25)
    assert data.classes == ("cat", "dog") and [len(data.part(p)) for p in ("train", "val", "test")] == [12, 4, 4]
    check(data)
    copied = [path for path in (tmp_path / "huggingface").iterdir() if path.name != "cache"]
    assert len(copied) == 1 and len(list(copied[0].glob("*.png"))) == 20
    before = copied[0].stat().st_mtime_ns
    check(ready(tmp_path, "birds.parquet", val_fraction=0.25))
    assert copied[0].stat().st_mtime_ns == before


def test_splits_that_were_saved_and_groups(tmp_path):
    from datasets import DatasetDict

    DatasetDict({"train": rows(12, group=[f"g{i // 3}" for i in range(12)]),
                 "validation": rows(4, green=50, group=["h"] * 4)}).save_to_disk(str(tmp_path / "saved"))  # fmt: skip
    data = ready(tmp_path, "saved", val_fraction=0.25)
    assert [len(data.part(p)) for p in ("train", "val", "test")] == [9, 3, 4]
    assert data.notes == ("tested on the split val, there is no test; validation is held out of train",)
    assert crossing([data.part(p).groups for p in ("train", "val", "test")]) is None
    check(data)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_group_in_two_of_the_saved_splits_is_one_line(tmp_path, split):
    from datasets import DatasetDict

    known = rows(4, green=50, group=["c", "b", "c", "d"])
    DatasetDict({"train": rows(8, group=[*"aaaabbbb"]), split: known}).save_to_disk(str(tmp_path / "saved"))
    message = r"^dataset.path=saved: group 'b' is in several splits; a group must be in one$"
    with pytest.raises(InputError, match=message):
        ready(tmp_path, "saved")
    data = ready(tmp_path, "saved", columns={"group": "none"}, val_fraction=0.25)  # no column of that name
    assert data.part("train").groups is None


def test_a_folder_of_images(tmp_path):
    for split, count in (("train", 6), ("test", 4)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for i in range(count // 2):
                Image.new("RGB", (10, 8), (10 * (label * (count // 2) + i), 0, 0)).save(folder / f"{i}.png")
    data = ready(tmp_path, "pets")
    assert data.classes == ("cat", "dog") and len(data.part("test")) == 4
    batch = next(iter(data.test_dataloader()))
    assert np.round(255 * batch["image"][:, 0, 4, 4].numpy()).tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"path": None}, r"dataset.path: must be given, a name on the Hub"),
     ({"path": "no.parquet"}, r"dataset.path=no.parquet: cannot be loaded"),
     ({"columns": {"label": "kind"}}, r"no column 'kind'; its columns: image, label; name it with"),
     ({"columns": {"image": "label"}}, r"dataset.columns.image=label: holds no images"),
     ({"columns": {"picture": "image"}}, r"dataset.columns.picture: no such column; allowed: image")],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path, monkeypatch, options, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows(4).to_parquet(tmp_path / "birds.parquet")
    with pytest.raises(InputError, match=message) as error:
        ready(tmp_path, **{"path": "birds.parquet", **options})
    assert "\n" not in str(error.value)


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"dataset=huggingface: needs a package: pip install 'zoomexp\[data\]'"):
        ready(tmp_path, "birds.parquet")
