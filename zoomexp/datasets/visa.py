"""VisA (Zou et al., ECCV 2022, CC BY 4.0): 10,821 photographs of 12 products, normal or with a defect and its mask.

Public layout, unpacked from VisA_20220922.tar: `<object>/Data/Images/{Normal,Anomaly}/*.JPG`, masks of the defects in
`<object>/Data/Masks/Anomaly/*.png`, and `split_csv/*.csv` with the columns object, split, label, image and mask.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from zoomexp.arguments import one_of
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError

HOME = "https://registry.opendata.aws/visa/"
COLUMNS = ["object", "split", "label", "image", "mask"]
CLASSES = ("normal", "anomaly")
OBJECTS = (
    "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3", "pcb4",
    "pipe_fryum",
)  # fmt: skip
SPLITS = ("2cls_highshot", "2cls_fewshot", "1cls")


class VisA(StreamDataModule):
    """Normal or not, by the public two-class splits; test batches have the defects' masks, and maps are scored by them.

    Args:
        folder: of the layout, below `data_dir` or a whole path.
        split_file: "2cls_highshot": six tenths of all images train; "2cls_fewshot": ten a class train; "1cls": the
            one-class protocol, whose training images are all normal, so that a classifier is refused.
        product: one of the 12 objects; "all".
        **common: as in `StreamDataModule`.
    """

    name = "visa"

    def __init__(
        self,
        *,
        folder: str = "VisA",
        split_file: Literal["2cls_highshot", "2cls_fewshot", "1cls"] = "2cls_highshot",
        product: str = "all",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        one_of("dataset.split_file", split_file, SPLITS)
        one_of("dataset.product", product, ("all", *OBJECTS))
        self.folder, self.split_file, self.product = folder, split_file, product

    def read(self) -> FileSplits:
        """Return the two splits that the file lists.

        Raises:
            InputError: the layout is not there, its list is not as published, or names one class only.
        """
        root = (self.data_dir / Path(self.folder).expanduser()).absolute()
        path = root / "split_csv" / f"{self.split_file}.csv"
        if not path.is_file():
            raise InputError(f"dataset=visa: {path} is missing; unpack VisA_20220922.tar ({HOME}) there")
        table = _rows(path)
        chosen = table[(table["object"] == self.product) | (self.product == "all")]
        train, test = (_files(root, chosen[chosen["split"] == split]) for split in ("train", "test"))
        if len(train) == 0 or len(test) == 0 or len(np.unique(train.labels)) < len(CLASSES):
            needed = "needs images to test on, and normal and defective ones to train on"
            raise InputError(f"dataset.split_file={self.split_file}: {needed}")
        return FileSplits(train, None, test, CLASSES)


def _rows(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' errors of parsing are ValueErrors
        raise InputError(f"dataset=visa: {path} cannot be read; unpack it again ({HOME})") from error
    known = list(table.columns) == COLUMNS and table["label"].isin(CLASSES).all()
    if not known or not table["split"].isin(["train", "test"]).all():
        raise InputError(f"dataset=visa: {path} is not as published: {', '.join(COLUMNS)}; unpack it again ({HOME})")
    return table


def _files(root: Path, rows: pd.DataFrame) -> ImageFiles:
    labels = rows["label"].map(CLASSES.index).to_numpy(np.int64)
    paths, masks = (np.char.encode(rows[name].to_numpy(str)) for name in ("image", "mask"))
    return ImageFiles(root, paths, labels, masks=masks, mask_root=root)
