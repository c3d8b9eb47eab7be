"""Data sets of Hugging Face's library `datasets`: by name from the Hub, from a folder, or from Parquet files.

Their images are copied out once, as they are stored, to `<data_dir>/huggingface/`, and read from there as all others.
Nothing that a data set brings is run: the library takes data files only (from version 4 on).
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.datasets.csv_list import SPLITS
from zoomexp.datasets.groups import crossing
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.picture import format_of
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError
from zoomexp.relevance.extraction import told

COLUMNS = {"image": "image", "label": "label", "box": "box", "group": "group"}


class HuggingFace(StreamDataModule):
    """A data set that `datasets` reads; what it does not bring of train, val and test is held out.

    Args:
        path: a name on the Hub ("owner/name"); or, below `data_dir` or as a whole path, a folder (of Parquet or image
            files, or written by `save_to_disk`) or a Parquet file.
        config: the data set's configuration, where it has several.
        revision: the commit or tag on the Hub; None: the newest.
        columns: the names of the columns with image, label, and perhaps box (four numbers x0, y0, x1, y1, in pixel
            edges of the stored image) and group (images of one never fall into two parts).
        **common: as in `StreamDataModule`.

    Raises:
        InputError: a value of the wrong kind or out of its range.
    """

    name = "huggingface"

    def __init__(
        self,
        *,
        path: str | None,
        config: str | None = None,
        revision: str | None = None,
        columns: Mapping[str, str] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        for field, value in {"path": path, "config": config, "revision": revision}.items():
            if not isinstance(value, str | None):
                raise InputError(f"dataset.{field}={value} must be a text")
        columns = COLUMNS | dict(columns or {})
        if unknown := sorted(set(columns) - set(COLUMNS)):
            raise InputError(f"dataset.columns.{unknown[0]}: no such column; allowed: {', '.join(COLUMNS)}")
        self.path, self.config, self.revision, self.columns = path, config, revision, columns

    def read(self) -> FileSplits:
        """Return the images of the splits, copied out of the data set if that has not been done.

        Raises:
            InputError: there is no such data set, it cannot be read, it has no such column, or a group of images is in
                several of its splits.
        """
        if self.path is None:
            raise InputError("dataset.path: must be given, a name on the Hub, a folder or a Parquet file")
        loaded = self._load()
        splits = {SPLITS[name.lower()]: rows for name, rows in loaded.items() if name.lower() in SPLITS}
        passed_over = {
            f"split {name}": "no split of train, val and test" for name in loaded if name.lower() not in SPLITS
        }
        if "train" not in splits:
            raise InputError(f"dataset.path={self.path}: has no split train; its splits: {', '.join(loaded)}")
        for rows in splits.values():
            self._check_columns(rows)
        classes, labels = self._labels(splits)
        parts = {split: self._files(rows, split, labels[split]) for split, rows in splits.items()}
        self._check_groups(splits, parts)
        if "test" in parts or "val" not in parts:
            return FileSplits(parts["train"], parts.get("val"), parts.get("test"), classes, passed_over)
        note = "tested on the split val, there is no test; validation is held out of train"
        return FileSplits(parts["train"], None, parts["val"], classes, passed_over, (note,))

    def _load(self) -> Mapping[str, Any]:
        """Return the data set's splits by name, as the library gives them."""
        try:
            import datasets
        except ImportError as error:
            raise InputError("dataset=huggingface: needs a package: pip install 'zoomexp[data]' or datasets") from error
        datasets.disable_progress_bars()
        local, cache = self.data_dir / Path(str(self.path)).expanduser(), str(self.data_dir / "huggingface" / "cache")
        try:
            if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
                loaded = datasets.load_from_disk(str(local))
            elif local.is_file():
                loaded = datasets.load_dataset("parquet", data_files=str(local), cache_dir=cache)
            else:
                where = str(local) if local.is_dir() else self.path
                loaded = datasets.load_dataset(where, self.config, revision=self.revision, cache_dir=cache)
        except Exception as error:  # the library, the network and the files have many ways to fail
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(f"dataset.path={self.path}: cannot be loaded: {reason}") from error
        return loaded if isinstance(loaded, Mapping) else {"train": loaded}

    def _check_columns(self, rows: Any) -> None:
        from datasets import Image

        for meaning in ("image", "label"):
            if self.columns[meaning] not in rows.features:
                have = ", ".join(rows.features)
                raise InputError(
                    f"dataset.path={self.path}: no column {self.columns[meaning]!r}; its columns: {have}; "
                    f"name it with dataset.columns.{meaning}"
                )
        if not isinstance(rows.features[self.columns["image"]], Image):
            raise InputError(f"dataset.columns.image={self.columns['image']}: holds no images")
        if not len(rows):
            raise InputError(f"dataset.path={self.path}: a split has no rows")

    def _labels(self, splits: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        """Return the classes' names and the labels (N,) int64 of each split."""
        from datasets import ClassLabel

        column = self.columns["label"]
        values = {split: np.array(rows[column]) for split, rows in splits.items()}
        feature = splits["train"].features[column]
        if isinstance(feature, ClassLabel):
            if unknown := [split for split, labels in values.items() if labels.min() < 0]:
                raise InputError(f"dataset.path={self.path}: split {unknown[0]} has images without a label (-1)")
            return tuple(feature.names), {split: labels.astype(np.int64) for split, labels in values.items()}
        names = np.unique(values["train"])
        for split, labels in values.items():
            if foreign := sorted(set(labels.tolist()) - set(names.tolist())):
                raise InputError(f"dataset.path={self.path}: class {foreign[0]!r} is in {split} and not in train")
        return tuple(map(str, names)), {split: np.searchsorted(names, labels) for split, labels in values.items()}

    def _check_groups(self, splits: Mapping[str, Any], parts: Mapping[str, ImageFiles]) -> None:
        group = crossing([part.groups for part in parts.values() if part.groups is not None])
        if group is None:
            return
        column = self.columns["group"]
        values = (str(value) for rows in splits.values() if column in rows.features for value in rows[column])
        name = next(value for value in values if hash_of(value) == group)
        raise InputError(f"dataset.path={self.path}: group {name!r} is in several splits; a group must be in one")

    def _files(self, rows: Any, split: str, labels: np.ndarray) -> ImageFiles:
        """Return a split's images as files, with what is known of them."""
        folder = self._copied(rows, split)
        paths = np.array([name.encode() for name in json.loads((folder / "names.json").read_text())])
        known: dict[str, Any] = {"boxes": None, "groups": None}
        if self.columns["box"] in rows.features:
            boxes = rows[self.columns["box"]]
            if any(box is None or len(box) != 4 for box in boxes):
                raise InputError(f"dataset.columns.box={self.columns['box']}: not four numbers for each image")
            known["boxes"] = np.array(boxes, np.float32)
        if self.columns["group"] in rows.features:
            groups = np.array([hash_of(str(value)) for value in rows[self.columns["group"]]])
            known["groups"] = groups
        return ImageFiles(folder, paths, labels, **known)

    def _copied(self, rows: Any, split: str) -> Path:
        """Return the folder with the files of a split's images; written in one step where they are not there."""
        slug = re.sub(r"[^\w.-]+", "-", str(self.path)).strip("-")
        mark = hashlib.sha256(f"{rows._fingerprint} {self.columns['image']} {len(rows)}".encode()).hexdigest()[:12]
        home = self.data_dir / "huggingface" / f"{slug}-{split}-{mark}"
        if home.is_dir():
            return home
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=home.parent, prefix=".copy-") as partial:
                for line in told(
                    copied(rows, self.columns["image"], Path(partial) / "files"), f"copying {slug} {split}"
                ):
                    print(line, flush=True)  # noqa: T201
                (Path(partial) / "files").rename(home)
        except OSError as error:
            raise InputError(f"data_dir={self.data_dir}: cannot be written ({error.strerror}); name another") from error
        return home


def copied(rows: Any, column: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Write a split's images and `names.json`, their names in the order of the rows.

    Yields:
        (images done, images to do).
    """
    from datasets import Image

    folder.mkdir()
    names = []
    for position, row in enumerate(rows.select_columns([column]).cast_column(column, Image(decode=False))):
        content = row[column]["bytes"] if row[column] else None
        content = Path(row[column]["path"]).read_bytes() if row[column] and content is None else content or b""
        names.append(f"{position:07d}{ending(content)}")
        (folder / names[-1]).write_bytes(content)
        yield position + 1, len(rows)
    (folder / "names.json").write_text(json.dumps(names))


def ending(content: bytes) -> str:
    """Return how the name of a file with that content ends; .bin where it is no image, which is found out later."""
    kind = format_of(content)
    return f".{kind.lower()}" if kind else ".bin"


def hash_of(text: str) -> int:
    """Return a number that is the same for the same text, in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())
