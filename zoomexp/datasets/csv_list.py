"""Anyone's images, listed in a CSV file: path and label, perhaps split, box and group."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoomexp.datasets.groups import crossing
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError

COLUMNS = {"path": "path", "label": "label", "split": "split", "box": "box", "group": "group"}
NEEDED = ("path", "label")
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class CsvList(StreamDataModule):
    """Images that a CSV file names, one a row; what it does not say of the splits is held out.

    Args:
        file: the CSV file, below `data_dir` (or a whole path), its columns separated by commas, semicolons or tabs.
        root: the folder that paths start from; None: that of the CSV file.
        columns: the names of the columns, by what they mean:
            path: of the image, from `root` (or a whole path).
            label: the class's name, any text.
            split: train, val (valid, validation) or test; without the column, and without test rows, see
                `test_fraction`; without val rows see `val_fraction`; of train and val rows alone, val is tested on.
            box: the object's x0 y0 x1 y1, pixel edges of the stored image, with spaces or commas between them.
            group: any text; images of one group never fall into two splits or folds.
            The last three may be missing.
        **common: as in `StreamDataModule`.

    Raises:
        InputError: a value of the wrong kind or out of its range.
    """

    name = "csv"

    def __init__(
        self, *, file: str, root: str | None = None, columns: Mapping[str, str] | None = None, **common: Any
    ) -> None:
        super().__init__(**common)
        for field, value in {"file": file, "root": root}.items():
            if not isinstance(value, str) and not (field == "root" and value is None):
                raise InputError(f"dataset.{field}={value} must be a path, below data_dir or a whole one")
        columns = COLUMNS | dict(columns or {})
        if unknown := sorted(set(columns) - set(COLUMNS)):
            raise InputError(f"dataset.columns.{unknown[0]}: no such column; allowed: {', '.join(COLUMNS)}")
        self.file, self.root, self.columns = file, root, columns

    def read(self) -> FileSplits:
        """Return the images that the file lists.

        Raises:
            InputError: the file is not there, lacks a column, or a row cannot be right.
        """
        path = self.data_dir / Path(self.file).expanduser()
        root = path.parent if self.root is None else self.data_dir / Path(self.root).expanduser()
        table = read_table(path, self.columns)
        passed_over = {f"{path.name} line {line}": "listed twice" for line in table.index[table.duplicated()] + 2}
        table = table.drop_duplicates()
        check_once(table, path)
        classes, labels = np.unique(table["label"].to_numpy(str), return_inverse=True)
        everything = ImageFiles(
            root.absolute(),
            np.char.encode(table["path"].to_numpy(str)),
            labels.astype(np.int64),
            boxes_of(table, path),
            groups=np.unique(table["group"].to_numpy(str), return_inverse=True)[1] if "group" in table else None,
        )
        return split_up(everything, table, tuple(classes.tolist()), path, passed_over)


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows as text, in columns named by what they mean; optional ones that are not there are left out.

    Raises:
        InputError: the file is not there or cannot be read, has no rows, lacks a column, or a cell is empty.
    """
    where = f"dataset.file={path}"
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
        separator = max(",;\t", key=first.count)
        table = pd.read_csv(path, dtype=str, keep_default_na=False, sep=separator, encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{where} is not there or cannot be read ({error.strerror})") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{where} cannot be read as a CSV file: {' '.join(str(error).split())}") from error
    table.columns = table.columns.str.strip()
    for meaning in columns:
        if meaning in NEEDED and columns[meaning] not in table:
            have = ", ".join(table.columns)
            raise InputError(f"{where} has no column {columns[meaning]!r}; its columns: {have}; see dataset.columns")
    if table.empty:
        raise InputError(f"{where} has no rows")
    table = table[[name for name in columns.values() if name in table]].rename(
        columns={name: meaning for meaning, name in columns.items()}
    )
    stripped: pd.DataFrame = table.apply(lambda column: column.str.strip())
    for column in stripped:
        if (empty := stripped.index[stripped[column] == ""]).size:
            raise InputError(f"{where} line {empty[0] + 2} has no {column}")
    return stripped


def check_once(table: pd.DataFrame, path: Path) -> None:
    """Refuse an image that stands in the list with two labels or splits.

    Raises:
        InputError: there is one; the message names it.
    """
    again = table.index[table["path"].duplicated()]
    if not again.size:
        return
    rows = table[table["path"] == table["path"][again[0]]]
    differing = next(name for name in table if rows[name].nunique() > 1)
    values = " and ".join(rows[differing].unique()[:2])
    raise InputError(f"dataset.file={path}: {rows['path'].iloc[0]} stands in it twice, as {differing} {values}")


def boxes_of(table: pd.DataFrame, path: Path) -> np.ndarray | None:
    """Return the boxes (N, 4) float32; None where there is no such column.

    Raises:
        InputError: a box is not four numbers, or has no area.
    """
    if "box" not in table:
        return None
    boxes = np.empty((len(table), 4), np.float32)
    line: Any
    for row, (line, text) in enumerate(table["box"].items()):
        try:
            boxes[row] = [float(part) for part in text.strip("[]() ").replace(",", " ").split()]
        except ValueError:
            boxes[row] = np.nan
        x0, y0, x1, y1 = boxes[row]
        if not (np.isfinite(boxes[row]).all() and x0 < x1 and y0 < y1):
            raise InputError(
                f"dataset.file={path} line {line + 2}: box {text!r} is not x0 y0 x1 y1, x0 < x1 and y0 < y1"
            )
    return boxes


def split_up(
    everything: ImageFiles, table: pd.DataFrame, classes: tuple[str, ...], path: Path, passed_over: Mapping[str, str]
) -> FileSplits:
    """Part the images as the list says.

    Raises:
        InputError: an unknown split, no training rows, a class or a group in the wrong splits.
    """
    if "split" not in table:
        return FileSplits(everything, None, None, classes, passed_over)
    named = table["split"].str.lower().map(SPLITS)
    if (unknown := table.index[named.isna()]).size:
        allowed = ", ".join(SPLITS)
        given = table["split"][unknown[0]]
        raise InputError(f"dataset.file={path} line {unknown[0] + 2}: split {given!r} is unknown; allowed: {allowed}")
    rows = {split: np.flatnonzero((named == split).to_numpy()) for split in ("train", "val", "test")}
    if not len(rows["train"]):
        raise InputError(f"dataset.file={path} has no row with split train")
    parts = {split: renumbered(everything.take(chosen)) for split, chosen in rows.items() if len(chosen)}
    check_classes_known(parts, classes, path)
    groups = [part.groups for part in parts.values() if part.groups is not None]
    if everything.groups is not None and (group := crossing(groups)) is not None:
        name = table["group"].to_numpy(str)[np.flatnonzero(everything.groups == group)[0]]
        raise InputError(f"dataset.file={path}: group {str(name)!r} is in several splits; a group must be in one")
    if "test" in parts or "val" not in parts:
        return FileSplits(parts["train"], parts.get("val"), parts.get("test"), classes, passed_over)
    note = "tested on the rows with split val, there are none with test; validation is held out of train"
    return FileSplits(parts["train"], None, parts["val"], classes, passed_over, (note,))


def check_classes_known(parts: Mapping[str, ImageFiles], classes: tuple[str, ...], path: Path) -> None:
    """Refuse a class that is validated or tested on and not trained.

    Raises:
        InputError: there is one; the message names it.
    """
    for split, part in parts.items():
        if foreign := sorted(set(part.labels.tolist()) - set(parts["train"].labels.tolist())):
            raise InputError(f"dataset.file={path}: class {classes[foreign[0]]!r} is in {split} and not in train")


def renumbered(files: ImageFiles) -> ImageFiles:
    """Return the same images as a split of its own, `index` from 0."""
    return ImageFiles(files.root, files.paths, files.labels, files.boxes, files.parts, groups=files.groups)
