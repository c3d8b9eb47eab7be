"""The entries of an annotation file of COCO's kind, one by one: what is wrong with one is told with its id."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from zoomexp.errors import InputError

Read = TypeVar("Read")
LARGEST = 2**53  # up to which whole numbers are told apart in double precision


def each(path: Path, kind: str, entries: Sequence[Any], read: Callable[[Any], Read]) -> list[Read]:
    """What `read` makes of each entry of a list, one of the functions below.

    Raises:
        InputError: it cannot; names file and id.
    """
    found: list[Read] = []
    try:
        for one in entries:
            found.append(read(one))
    except (KeyError, ValueError) as error:
        place = len(found)
        number = entries[place].get("id")
        named = f"{kind} {number}" if number is not None else f"{kind} without an id, number {place + 1} of the list,"
        why = f"has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: {named} {why}") from error
    return found


def read_category(one: Any) -> tuple[int, str]:
    """Id and name; raises as below."""
    return _whole(one, "id"), str(one["name"])


def read_image(one: Any) -> tuple[int, bytes, int, int]:
    """Id, file as `os.fsencode` makes it, height and width.

    Raises:
        KeyError: a field that is missing, its name.
        ValueError: what is wrong, a few words to follow the entry's name.
    """
    height, width = _whole(one, "height"), _whole(one, "width")
    if min(height, width) < 1:
        raise ValueError(f"has {width} x {height} pixels")
    if not isinstance(one["file_name"], str):
        raise ValueError(f"has file_name={one['file_name']!r}, no name")
    return _whole(one, "id"), os.fsencode(one["file_name"]), height, width


def read_annotation(one: Any) -> tuple[float, ...]:
    """Image, id, category, whether it is a crowd, area (NaN where it is not said), x, y, width and height; as above."""
    box, area = one["bbox"], one.get("area")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(edge, int | float) for edge in box):
        raise ValueError(f"has bbox={box!r}, no four numbers")
    if area is not None and not (isinstance(area, int | float) and 0 <= area < float("inf")):
        raise ValueError(f"has area={area!r}, no number of pixels")
    crowd = _whole(one, "iscrowd") if "iscrowd" in one else 0
    ids = _whole(one, "image_id"), _whole(one, "id"), _whole(one, "category_id")
    return *ids, crowd, float("nan") if area is None else area, *box


def _whole(one: Any, field: str) -> int:
    value = one[field]
    if type(value) is int and abs(value) < LARGEST:
        return value
    try:
        if abs(number := int(value)) < LARGEST and number == float(value):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"has {field}={value!r}, no whole number below 2^53")
