"""VisA's public layout, written here with a few images as the archive has them."""

import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets.visa import VisA
from zoomexp.errors import InputError

SIDE = 32
SMALL = {"batch_size": 4, "mean": [0] * 3, "std": [1] * 3, "image_size": SIDE, "augment": "none", "crop_pct": 1.0}
HEAD = "object,split,label,image,mask\n"


def write(folder, rows=None):
    """Two products, each with four normal images and four defective ones, half of each to test on."""
    lines = []
    for product in ("candle", "pcb1"):
        for label, number in [(label, number) for label in ("Normal", "Anomaly") for number in range(4)]:
            image = f"{product}/Data/Images/{label}/{number:03}.JPG"
            mask = f"{product}/Data/Masks/Anomaly/{number:03}.png" if label == "Anomaly" else ""
            draw = np.random.default_rng(len(lines))
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(folder / image)
            if mask:
                (folder / mask).parent.mkdir(parents=True, exist_ok=True)
                defect = np.zeros((SIDE, SIDE), np.uint8)
                defect[number : number + 5, 3:9] = 1 + number  # kinds of defects are numbered
                Image.fromarray(defect).save(folder / mask)
            lines.append(f"{product},{'train' if number < 2 else 'test'},{label.lower()},{image},{mask}\n")
    (folder / "split_csv").mkdir(exist_ok=True)
    for name in ("2cls_highshot", "2cls_fewshot", "1cls"):
        kept = [line for line in lines if name != "1cls" or ",train,anomaly" not in line]
        (folder / "split_csv" / f"{name}.csv").write_text(HEAD + "".join(kept if rows is None else rows))


def test_splits_labels_and_masks_are_those_of_the_list(tmp_path):
    write(tmp_path / "VisA")
    data = VisA(data_dir=tmp_path, val_fraction=0, **SMALL)
    data.setup()
    assert data.classes == ("normal", "anomaly")
    assert [data.part(part).labels.tolist() for part in ("train", "test")] == [[0, 0, 1, 1] * 2] * 2
    batch = {name: value.numpy() for name, value in next(iter(data.test_dataloader())).items()}
    for label, mask, index in zip(batch["label"], batch["mask"], batch["index"], strict=True):
        expected = np.zeros((SIDE, SIDE), bool)
        if label:
            number = int(data.part("test").name(index)[-7:-4])
            expected[number : number + 5, 3:9] = True
        np.testing.assert_array_equal(mask, expected)


def test_one_product_and_another_list(tmp_path):
    write(tmp_path / "elsewhere")
    files = VisA(data_dir=tmp_path, folder="elsewhere", product="pcb1", split_file="2cls_fewshot", **SMALL).read()
    assert {files.train.name(i).split("/")[0] for i in range(len(files.train))} == {"pcb1"} and len(files.test) == 4


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        ({"folder": "nowhere"}, None, r"nowhere/split_csv/2cls_highshot\.csv is missing; unpack VisA_20220922\.tar"),
        ({"split_file": "1cls"}, None, r"dataset\.split_file=1cls: needs images to test on, and normal and defective"),
        ({"product": "cashew"}, None, r"dataset\.split_file=2cls_highshot: needs images to test on"),
        ({}, ["candle,train,broken,a.JPG,\n"], r"2cls_highshot\.csv is not as published: object, split, label"),
        ({}, ["candle,train,normal,a.JPG,,,,\n", "\n"], r"2cls_highshot\.csv is not as published|cannot be read"),
        ({"product": "bottle"}, None, r"dataset\.product='bottle' must be one of all, candle"),
        ({"split_file": "3cls"}, None, r"dataset\.split_file='3cls' must be one of 2cls_highshot"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, options, rows, message):
    write(tmp_path / "VisA", rows)
    with pytest.raises(InputError, match=message):
        VisA(data_dir=tmp_path, **SMALL, **options).read()
