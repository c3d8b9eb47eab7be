"""What an annotation file of COCO's kind calls images and classes: the ids that its result format has."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoomexp.errors import InputError


@dataclass(frozen=True)
class CocoIds:
    """Ids of an annotation file.

    Args:
        file: It.
        images: Ids by file name.
        categories: Names by id.
    """

    file: Path
    images: dict[str, int]
    categories: dict[int, str]

    def of_images(self, files: Iterable[Path]) -> list[int]:
        """The id of each file, by its name or the end of its path.

        Raises:
            InputError: The annotation file lists one of them not.
        """
        return [self._of_image(path) for path in files]

    def of_classes(self, classes: Sequence[str]) -> list[int]:
        """The id of each class: its number where that has its name, else that of its name; -1 of those without a name.

        Raises:
            InputError: The annotation file has no category of that name, or several.
        """
        return [self._of_class(label, name) for label, name in enumerate(classes)]

    def _of_image(self, path: Path) -> int:
        ends = ("/".join(path.parts[start:]) for start in range(len(path.parts)))  # the longest first
        found = next((self.images[end] for end in ends if end in self.images), None)
        if found is None:
            raise InputError(f"coco={self.file}: does not list {path}; are the annotations another split's?")
        return found

    def _of_class(self, label: int, name: str) -> int:
        if not name or self.categories.get(label) == name:
            return label if name else -1
        same = [number for number, word in self.categories.items() if word == name]
        if len(same) != 1:
            raise InputError(f"coco={self.file}: has {len(same)} categories that are called {name}, a class of the run")
        return same[0]


def coco_ids(file: Path) -> CocoIds:
    """Read an annotation file's images and categories; annotations it need not have.

    Raises:
        InputError: It is missing, or no such file.
    """
    try:
        text = json.loads(file.read_bytes())
        images = {str(one["file_name"]): int(one["id"]) for one in text["images"]}
        return CocoIds(file, images, {int(one["id"]): str(one["name"]) for one in text["categories"]})
    except FileNotFoundError as error:
        raise InputError(f"coco={file}: no such file") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = f"{type(error).__name__}: {error}"
        raise InputError(f"coco={file}: is no annotation file of COCO's kind ({kind})") from error
