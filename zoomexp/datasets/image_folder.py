"""Anyone's images, one folder a class: `<data_dir>/<folder>/train/<class>/**`, the same for `test`, perhaps `val`.

Whatever Pillow reads, any size; grey images become colour. Folders in class folders are read, too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from zoomexp.datasets.class_folders import ClassFolders, entries, hidden, read_class_folders, readable
from zoomexp.datasets.image_files import FileSplits
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError


class ImageFolder(StreamDataModule):
    """Images in class folders; without a folder `val`, `valid` or `validation` that split is held out of `train`.

    Upper and lower case of the split folders' names do not count.

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
    hint = "make folders train/<class>/ and test/<class>/ with images in them"

    def __init__(self, *, folder: str = "images", **common) -> None:
        super().__init__(**common)
        if not isinstance(folder, str):
            raise InputError(f"dataset.folder={folder} must be a folder, below data_dir or a whole path")
        self.folder = folder

    def read(self) -> FileSplits:
        """Return the images of the split folders."""
        root = self.data_dir / Path(self.folder).expanduser()
        folders, passed_over = self._split_folders(root)
        found = {split: self._class_folders(folder) for split, folder in folders.items()}
        classes = list(found["train"].images)
        for split in found.values():
            passed_over |= split.passed_over
            self._check_classes(found["train"], split)
        parts = {split: one.files(classes) for split, one in found.items()}
        names = tuple(readable(name) for name in classes)
        return FileSplits(parts["train"], parts.get("val"), parts["test"], names, passed_over)

    def _split_folders(self, root: Path) -> tuple[dict[str, Path], dict[str, str]]:
        """Return the folder of each split, and what else lies in `root` with the reason why it is passed over."""
        try:
            inside = entries(root)
        except InputError:
            inside = []  # below, the folder that is missing is named
        folders, passed_over = {}, {}
        for entry in inside:
            named = [split for split, names in self.split_names.items() if entry.name.lower() in names]
            if named and entry.is_dir():
                if folders.setdefault(named[0], root / entry.name) != root / entry.name:
                    both = f"{folders[named[0]].name} and {entry.name} are both there"
                    raise InputError(f"dataset={self.name}: {root}: {both}; there must be one {named[0]} folder")
            else:
                passed_over[readable(entry.name)] = hidden(entry.name) or "no split folder"
        for split in ("train", "test"):
            if split not in folders:
                missing = root / self.split_names[split][0]
                raise InputError(f"dataset={self.name}: {missing} is not there or cannot be read; {self.hint}")
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
