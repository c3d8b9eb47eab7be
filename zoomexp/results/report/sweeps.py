"""Finds sweeps by themselves: groups of runs whose configs differ in one value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoomexp.results.report.groups import SeedGroup, distinguish

ABSENT = object()
SAME = ("dataset", "backbone", "attention")  # choices; what is compared across them is a table, not a sweep


@dataclass(frozen=True, eq=False)
class Sweep:
    """Groups that differ in `key` alone, ordered by its value; `name` says what they share."""

    key: str
    name: str
    values: tuple[Any, ...]
    groups: tuple[SeedGroup, ...]


def find_sweeps(groups: Sequence[SeedGroup]) -> list[Sweep]:
    """Every set of at least two groups of one model and data set whose configs are equal but for one value.

    Values that are equal to each other in every group, such as `scheduler.epochs` and `trainer.max_epochs`, which
    follows from it, count as one and are named together. A group may belong to several sweeps.
    """
    columns = _columns(groups)
    found = []
    for key, values in columns.items():
        if key.endswith("_target_"):  # a class is a choice, not a value
            continue
        others = [column for name, column in columns.items() if name != key]
        buckets: dict[tuple[Any, ...], list[int]] = {}
        for i, value in enumerate(values):
            if value is not ABSENT:
                shared = (*(groups[i].choices.get(name) for name in SAME), *(column[i] for column in others))
                buckets.setdefault(shared, []).append(i)
        found += [_sweep(key, groups, values, members) for members in buckets.values() if len(members) > 1]
    return _named(sorted(found, key=lambda sweep: (sweep.name, sweep.key)))


def _columns(groups: Sequence[SeedGroup]) -> dict[str, tuple[Any, ...]]:
    """Key -> its value in each group, of the keys that vary; columns that are the same throughout share an entry."""
    keys = dict.fromkeys(key for group in groups for key in group.config)
    same: dict[tuple[Any, ...], list[str]] = {}
    for key in keys:
        column = tuple(group.config.get(key, ABSENT) for group in groups)
        if len({repr(value) for value in column}) > 1:  # repr keeps 1, 1.0 and true apart
            same.setdefault(tuple((type(value), value) for value in column), []).append(key)
    return {" = ".join(names): tuple(value for _, value in column) for column, names in same.items()}


def _sweep(key: str, groups: Sequence[SeedGroup], values: Sequence[Any], members: Sequence[int]) -> Sweep:
    ordered = sorted(members, key=lambda i: _order(values[i]))
    chosen = tuple(groups[i] for i in ordered)
    return Sweep(key, _shared(chosen), tuple(values[i] for i in ordered), chosen)


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers first, by size; everything else by its text."""
    number = is_number(value)
    return (0 if number else 1, value if number else 0.0, "" if number else str(value))


def is_number(value: Any) -> bool:
    """Whether a config value is a number (a truth value is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shared(groups: Sequence[SeedGroup]) -> str:
    """Data set and model; the place only where it is not swept."""
    names = dict.fromkeys(group.name for group in groups)
    name = next(iter(names))
    return f"{groups[0].choices.get('dataset')}: {name if len(names) == 1 else name.partition(' at ')[0]}"


def _named(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """Sweeps of one key and name get the values in which they differ."""
    alike: dict[tuple[str, str], list[Sweep]] = {}
    for sweep in sweeps:
        alike.setdefault((sweep.key, sweep.name), []).append(sweep)
    named = {}
    for (key, name), members in alike.items():
        keys = key.split(" = ")
        fixed = [{k: v for k, v in other.groups[0].config.items() if k not in keys} for other in members]
        for sweep, more in zip(members, distinguish(fixed), strict=True):
            named[sweep] = Sweep(key, f"{name} ({more})" if more else name, sweep.values, sweep.groups)
    return [named[sweep] for sweep in sweeps]
