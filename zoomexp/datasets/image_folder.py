"""Anyone's images, one folder a class: `<data_dir>/<folder>/train/<class>/**`, the same for `val` and `test`.

Without these split folders, `<data_dir>/<folder>/<class>/**`, the test split is held out, too. Whatever Pillow reads,
any size; grey images become colour. Folders in class folders are read, too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from zoomexp.datasets.class_folders import ClassFolders, entries, hidden, read_class_folders, readable
from zoomexp.datasets.image_files import FileSplits
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError


class ImageFolder(StreamDataModule):
    """Images in class folders, perhaps in folders `train`, `val` (or `valid`, `validation`) and `test`.

    Upper and lower case of these names do not count. Without a validation folder that split is held out of `train`, and
    without a test folder `val` is tested on, or a part that is held out of the rest.

    Args:
        folder: what holds the split folders, below `data_dir` (or a whole path).
        **common: as in `StreamDataModule`.

    Raises:
        InputError: a value of the wrong kind or out of its range.
    """

    name = "image_folder"
    split_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",),
    }  # fmt: skip
    parts_itself = True  # where there are no splits
    hint = "make folders train/<class>/ and test/<class>/, or <class>/ alone, with images in them"

    def __init__(self, *, folder: str = "images", **common: Any) -> None:
        super().__init__(**common)
        if not isinstance(folder, str):
            raise InputError(f"dataset.folder={folder} must be a folder, below data_dir or a whole path")
        self.folder = folder

    def read(self) -> FileSplits:
        """Return the images of the split folders, or of class folders alone."""
        root = self.data_dir / Path(self.folder).expanduser()
        folders, passed_over, notes = self._layout(root)
        found = {split: self._class_folders(folder) for split, folder in folders.items()}
        classes = list(found["train"].images)
        for split in found.values():
            passed_over |= split.passed_over
            self._check_classes(found["train"], split)
        parts = {split: one.files(classes) for split, one in found.items()}
        names = tuple(readable(name) for name in classes)
        return FileSplits(parts["train"], parts.get("val"), parts.get("test"), names, passed_over, notes)

    def _layout(self, root: Path) -> tuple[dict[str, Path], dict[str, str], tuple[str, ...]]:
        """Return the folder of each split, what else lies in `root` and why it is passed over, and what is to be said.

        Class folders alone count as the training split; of `train` and `val` alone, `val` is tested on.
        """
        folders, passed_over = self._split_folders(root)
        if not folders and passed_over and self.parts_itself:
            return {"train": root}, {}, ()
        for split in ("train",) if self.parts_itself else ("train", "test"):
            if split not in folders:
                missing = root / self.split_names[split][0]
                raise InputError(f"dataset={self.name}: {missing} is not there or cannot be read; {self.hint}")
        if "test" in folders or "val" not in folders:
            return folders, passed_over, ()
        val = folders.pop("val")
        note = f"tested on {val.name}, there is no test folder; validation is held out of {folders['train'].name}"
        return folders | {"test": val}, passed_over, (note,)

    def _split_folders(self, root: Path) -> tuple[dict[str, Path], dict[str, str]]:
        """Return the folders that are named as splits, and what else lies in `root`."""
        folders: dict[str, Path] = {}
        passed_over: dict[str, str] = {}
        for entry in entries(root) if root.is_dir() else ():
            named = [split for split, names in self.split_names.items() if entry.name.lower() in names]
            if not named or not entry.is_dir():
                passed_over[readable(entry.name)] = hidden(entry.name) or "no split folder"
            elif folders.setdefault(named[0], root / entry.name) != root / entry.name:
                both = f"{folders[named[0]].name} and {entry.name} are both there"
                raise InputError(f"dataset={self.name}: {root}: {both}; there must be one {named[0]} folder")
        return folders, passed_over

    def _class_folders(self, folder: Path) -> ClassFolders:
        """Return what is in a split folder; there must be classes, and images of each."""
        where = f"dataset={self.name}: {folder}"
        try:
            found = read_class_folders(folder)
        except InputError as error:
            raise InputError(f"dataset={self.name}: {error}; {self.hint}") from error
        if not found.images:
            raise InputError(f"{where} has no class folders; {self.hint}")
        if empty := [name for name, paths in found.images.items() if not paths]:
            inside = [why for path, why in found.passed_over.items() if path.startswith(f"{folder.name}/{empty[0]}/")]
            reasons = f" ({len(inside)} passed over: {', '.join(sorted(set(inside)))})" if inside else ""
            raise InputError(f"{where}/{readable(empty[0])} has no images{reasons}; {self.hint}")
        return found

    def _check_classes(self, train: ClassFolders, other: ClassFolders) -> None:
        """Refuse a split whose classes are not those of the training split."""
        if differing := sorted(set(train.images) ^ set(other.images)):
            have, lack = (train, other) if differing[0] in train.images else (other, train)
            names = f"class {readable(differing[0])!r} is in {have.root.name} and not in {lack.root.name}"
            root = train.root.parent
            raise InputError(f"dataset={self.name}: {root}: {names}; every split must have the same class folders")
