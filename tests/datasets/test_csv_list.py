"""Images listed in a CSV file: what the columns mean, and every way to get it wrong in one line."""

import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets.csv_list import CsvList
from zoomexp.datasets.groups import crossing
from zoomexp.errors import InputError

SMALL = {"batch_size": 2, "mean": [0, 0, 0], "std": [1, 1, 1], "image_size": 8, "augment": "none", "file": "list.csv"}
ROWS = [f"pictures/{i}.png,{'cat' if i % 2 else 'dög'}" for i in range(20)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for i in range(20):
        Image.new("RGB", (40, 30), (10 * i, 0, 0)).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path


def ready(folder, rows, header="path,label", **options):
    (folder / "list.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    data = CsvList(data_dir=folder, **{**SMALL, **options})
    data.setup()
    return data


def sizes(data):
    return {name: len(data.part(name)) for name in ("train", "val", "test")}


def test_path_and_label_alone(folder):
    data = ready(folder, ROWS, val_fraction=0.25)
    assert data.classes == ("cat", "dög") and sizes(data) == {"train": 12, "val": 4, "test": 4}
    assert data.notes == ("tested on 20 % of the images, held out (dataset.test_fraction)",)
    batch = next(iter(data.test_dataloader()))
    for image, label, index in zip(batch["image"], batch["label"].tolist(), batch["index"].tolist(), strict=True):
        assert round(255 * float(image[0, 4, 4])) == 10 * index and label == 1 - index % 2


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_all_columns_in_any_order_by_any_name(folder, separator):
    rows = [
        f"{i // 4}|{'Train' if i < 12 else 'valid' if i < 16 else 'TEST'}|{i % 2}|{i}.png|{i} 2 30 20"
        for i in range(20)
    ]
    names = {"path": "file", "label": "kind", "group": "who"}
    rows, header = (text.replace("|", separator) for text in ("\n".join(rows), "who|split|kind|file|box"))
    data = ready(folder, [rows], header, columns=names, root="pictures", crop_pct=1.0)
    assert sizes(data) == {"train": 12, "val": 4, "test": 4} and data.classes == ("0", "1") and data.has_boxes
    batch = next(iter(data.test_dataloader()))
    assert batch["index"].tolist() == [0, 1, 2, 3]
    expected = [[(i - 4) / 4, 16 / 30, 26 / 4, 160 / 30] for i in range(16, 20)]  # 40 x 30 -> 10 x 8, its middle
    np.testing.assert_allclose(batch["box"].numpy(), np.clip(expected, 0, 8), atol=1e-4)


def test_groups_never_cross(folder):
    rows = [f"{row},{i // 4}" for i, row in enumerate(ROWS)]
    data = ready(folder, rows, "path,label,group", val_fraction=0.25)
    assert crossing([data.part(name).groups for name in ("train", "val", "test")]) is None
    for fold in range(5):
        data = ready(folder, rows, "path,label,group", fold=fold, folds=5)
        assert crossing([data.part(name).groups for name in ("train", "val", "test")]) is None


def test_without_test_rows_val_is_tested_on(folder):
    data = ready(folder, [f"{row},{'train' if i < 12 else 'val'}" for i, row in enumerate(ROWS)], "path,label,split")
    assert sizes(data) == {"train": 11, "val": 1, "test": 8}
    assert data.notes == (
        "tested on the rows with split val, there are none with test; validation is held out of train",
    )


def test_a_row_twice_is_passed_over(folder):
    assert ready(folder, [*ROWS, ROWS[3]]).passed_over == {"list.csv line 22": "listed twice"}


WRONG = {
    "no label": ("path,class", ROWS, {}, r"has no column 'label'; its columns: path, class; see dataset.columns"),
    "no rows": ("path,label", [], {}, "has no rows"),
    "empty": ("path,label", [*ROWS, "pictures/3.png,"], {}, "line 22 has no label"),
    "split": ("path,label,split", [f"{row},tset" for row in ROWS], {}, "line 2: split 'tset' is unknown; allowed"),
    "no train": ("path,label,split", [f"{row},test" for row in ROWS], {}, "has no row with split train"),
    "two splits": ("path,label,split", [*(f"{row},train" for row in ROWS), f"{ROWS[0]},test"], {},
                   "pictures/0.png stands in it twice, as split train and test"),
    "two labels": ("path,label", [*ROWS, "pictures/0.png,cat"], {}, "0.png stands in it twice, as label dög and cat"),
    "class": ("path,label,split", [*(f"{row},train" for row in ROWS[:10]), "pictures/11.png,cow,test"], {},
              "class 'cow' is in test and not in train"),
    "group": ("path,label,split,group", [f"{r},{('train', 'test')[i > 9]},g{i // 4}" for i, r in enumerate(ROWS)], {},
              "group 'g2' is in several splits"),
    "box": ("path,label,box", [f"{row},1 2 3" for row in ROWS], {}, "line 2: box '1 2 3' is not x0 y0 x1 y1"),
    "turned box": ("path,label,box", [f"{row},9 2 3 8" for row in ROWS], {}, "x0 < x1"),
    "missing image": ("path,label", [*ROWS, "pictures/x.png,cat"], {}, "pictures/x.png is missing"),
    "column": ("path,label", ROWS, {"columns": {"file": "path"}}, "dataset.columns.file: no such column"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(folder, case):
    header, rows, options, message = WRONG[case]
    with pytest.raises(InputError, match=message) as error:
        ready(folder, rows, header, **options)
    assert "\n" not in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"dataset.file=.*list.csv is not there or cannot be read"):
        CsvList(data_dir=tmp_path, **SMALL).setup()
