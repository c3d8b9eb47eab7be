"""Entries of a table's file, checked one by one: what is wrong is one line that names file, row and field."""

import math
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

from zoomexp.errors import InputError


def mapping_of(
    entry: Any, kind: type, where: str, without: Iterable[str] = (), optional: Iterable[str] = ()
) -> dict[str, Any]:
    """`entry` as keyword arguments of the dataclass `kind`: nothing unknown, nothing required missing."""
    allowed = {f.name: f for f in fields(kind) if f.name not in set(without)}
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected a mapping with {', '.join(allowed)}, got {entry!r}")
    if unknown := [str(key) for key in entry if key not in allowed]:
        raise InputError(f"{where}: unknown key {', '.join(unknown)}; allowed are {', '.join(allowed)}")
    required = [f.name for f in allowed.values() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if entry.get(name) is None and name not in set(optional)]:
        raise InputError(f"{where}: {', '.join(missing)} is missing")
    return dict(entry)


def entries(entry: Any, where: Any) -> list[Any]:
    """`entry`, a list that is not empty."""
    if not isinstance(entry, list) or not entry:
        raise InputError(f"{where}: expected a list with at least one entry, got {entry!r}")
    return entry


def strings(entry: Any, where: str) -> tuple[str, ...]:
    """`entry`, a list of texts, none empty; none at all where nothing was said."""
    entry = [] if entry is None else entry
    if not isinstance(entry, list) or not all(isinstance(text, str) and text for text in entry):
        raise InputError(f"{where}: expected a list of texts, got {entry!r}")
    return tuple(entry)


def check_texts(data: dict[str, Any], required: Iterable[str], optional: Iterable[str], where: str) -> None:
    """Refuse fields that are no texts; optional ones may be missing."""
    for key in (*required, *(key for key in optional if data.get(key) is not None)):
        if not isinstance(data[key], str) or not data[key].strip():
            raise InputError(f"{where}, {key}: expected a text, got {data[key]!r}")


def reported_of(entry: Any, keys: list[str], where: str) -> dict[str, float | None]:
    """Column -> number or None; a column that is not mentioned is unknown."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}, reported: expected column: number, got {entry!r}")
    for key, value in entry.items():
        if key not in keys:
            raise InputError(f"{where}, reported: {key!r} is not a column; the columns are {', '.join(keys)}")
        if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
            raise InputError(f"{where}, reported, {key}: expected a number or null, got {value!r}")
    return {key: entry.get(key) for key in keys}
