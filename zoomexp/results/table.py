"""A paper's table as data: `configs/table/<paper>/<table>.yaml` read strictly into frozen dataclasses.

A table says what its rows run and what the paper reported; it holds no measured number. Unknown keys, duplicate rows,
columns that do not exist and values that are not numbers are errors that name file, row and field. `${shared.<name>}`
in the place of a text or a list takes what several tables of a paper say alike from `_shared.yaml` beside them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoomexp.errors import InputError
from zoomexp.metrics.quantity import capital
from zoomexp.results.claims import Claim
from zoomexp.results.derived import declared
from zoomexp.results.statistics import Bounds
from zoomexp.results.table_fields import check_texts, entries, mapping_of, reported_of, strings

SCALES = ("smoke", "small", "paper")
SHARED = "_shared.yaml"  # what tables of a folder say alike: texts, or lists of overrides, by name
TAKEN = re.compile(r"\$\{shared\.(\w+)\}")


@dataclass(frozen=True)
class Column:
    """One quantity, by its full name: `split/key`, `cost/key`, or one that `derived.py` defines.

    The rest is what has been declared of it; a table may name it as its paper does, and show other decimals. Only of a
    quantity that nobody has declared, one of a task outside of the package, a table says unit and direction itself.
    """

    key: str
    name: str
    unit: str = ""
    higher_is_better: bool | None = None
    decimals: int = 2
    not_comparable: str | None = None

    @property
    def title(self) -> str:
        """Name with unit, as a heading."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def bounds(self) -> Bounds:
        """Least and largest value there can be, as far as that is declared."""
        quantity = declared(self.key)
        return (None, None) if quantity is None else quantity.bounds


@dataclass(frozen=True)
class Row:
    """One system: the overrides that run it, what the paper reported of it, and what must be known about both."""

    name: str
    overrides: tuple[str, ...] = ()
    reported: Mapping[str, float | None] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    unavailable: str | None = None
    not_comparable: str | None = None
    baseline: str | None = None

    def said(self, setting: str) -> str:
        """What its overrides give to a setting, the last word; "" where they give nothing."""
        values = [value for name, _, value in (word.partition("=") for word in self.overrides) if name == setting]
        return values[-1] if values else ""


@dataclass(frozen=True)
class Figure:
    """Columns of a table over another column or over a setting of its rows, a panel for each pair.

    Attributes:
        y: columns; one where there are several x.
        x: columns; none where there is a setting.
        over: a setting that rows give a number to, as in `loss.sparsity=0.05`; "" for none.
        by: another setting, each value of which has a curve of its own; "" for one curve.
    """

    y: tuple[str, ...]
    x: tuple[str, ...] = ()
    over: str = ""
    by: str = ""

    def setting(self, row: Row) -> float | None:
        """The number that a row's overrides give to the setting; None where they give none."""
        try:
            return float(row.said(self.over))
        except ValueError:
            return None

    def curve(self, row: Row) -> str:
        """What the row's curve is called; "" where there is one."""
        return f"{self.by} = {row.said(self.by)}" if self.by else ""


@dataclass(frozen=True)
class Table:
    """A table of a paper, or an ablation beside it; `name` is its path below `configs/table` without suffix."""

    name: str
    title: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caveats: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    scale: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    baseline: str | None = None
    not_comparable: str | None = None
    claims: tuple[Claim, ...] = ()
    figure: Figure | None = None

    def row(self, name: str) -> Row:
        """The row of that name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(f"{self.name}: no row {name!r}; its rows are {[row.name for row in self.rows]}")

    def overrides_of(self, row: Row, scale: str = "paper") -> list[str]:
        """What `train.py` is called with for a row: the table's, the row's, then the scale's (the last one wins)."""
        if scale not in SCALES:
            raise InputError(f"scale: {scale!r} is not one of {', '.join(SCALES)}")
        return [*self.overrides, *row.overrides, *self.scale.get(scale, ())]

    def baseline_of(self, row: Row) -> Row | None:
        """The row this one is tested against; None for a baseline itself."""
        name = row.baseline or self.baseline
        return None if name in (None, row.name) else self.row(name)

    def other_data(self, scale: str) -> bool:
        """Whether a scale has other data than the paper's, which title and source speak of."""
        return any(override.startswith(("experiment=", "dataset=")) for override in self.scale.get(scale, ()))

    def incomparable(self, row: Row, column: Column, scale: str) -> str | None:
        """Why a cell must not be compared with the reported value, or None where it may be."""
        if scale != "paper":
            return f"{'another data set' if self.other_data(scale) else 'shortened schedule'} (scale={scale})"
        return row.not_comparable or column.not_comparable or self.not_comparable


def table_names(folder: Path) -> list[str]:
    """Every table below `folder`, as `<paper>/<table>`."""
    paths = (path for path in folder.rglob("*.yaml") if path.name != SHARED)
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in paths)


def load_tables(folder: Path) -> list[Table]:
    """Every table below `folder`, recursively."""
    return [load_table(folder, name) for name in table_names(folder)]


def load_table(folder: Path, name: str) -> Table:
    """Reads and checks one table.

    Args:
        folder: the folder of all tables, `configs/table`.
        name: `<paper>/<table>`.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"table: no {name!r}; known tables: {', '.join(table_names(folder)) or 'none'}")
    shared = path.with_name(SHARED)
    known = _parse(shared) if shared.is_file() else {}
    data = mapping_of(_with_shared(_parse(path), known, path), Table, str(path), without={"name"})
    columns = tuple(_column(entry, f"{path}, column {i}") for i, entry in enumerate(entries(data["columns"], path)))
    rows = tuple(_row(entry, columns, path, i) for i, entry in enumerate(entries(data["rows"], path)))
    data["claims"] = tuple(_claim(entry, columns, rows, path) for entry in data.get("claims") or ())
    data["figure"] = _figure(data["figure"], columns, rows, path) if data.get("figure") else None
    data |= {"columns": columns, "rows": rows, "scale": _scale(data.get("scale"), path)}
    data |= {key: strings(data.get(key), f"{path}, {key}") for key in ("caveats", "overrides")}
    check_texts(data, ("title", "source"), ("baseline", "not_comparable"), str(path))
    table = Table(name=name, **data)
    _check_names(table, path)
    return table


def _parse(path: Path) -> Any:
    """The file as plain data; duplicate keys are refused."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error


def _with_shared(node: Any, known: Mapping[str, Any], path: Path) -> Any:
    """A table's data with what it takes from what the tables of its folder share, `known`."""
    if isinstance(node, dict):
        return {key: _with_shared(value, known, path) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_shared(value, known, path) for value in node]
    match = TAKEN.fullmatch(node) if isinstance(node, str) else None
    if match is None:
        return node
    if match[1] not in known:
        raise InputError(f"{path}: {node} is not among {', '.join(known)} of {SHARED} beside it")
    return known[match[1]]


def _column(entry: Any, where: str) -> Column:
    data = mapping_of(entry, Column, where, optional=("name",))
    check_texts(data, ("key",), ("name", "not_comparable"), where)
    if not isinstance(data.get("unit", ""), str):
        raise InputError(f"{where}, unit: expected a text ('' for none), got {data['unit']!r}")
    if data.get("higher_is_better") not in (True, False, None):
        raise InputError(f"{where}, higher_is_better: expected true, false or null, got {data['higher_is_better']!r}")
    decimals = data.get("decimals", 2)
    if type(decimals) is not int or not 0 <= decimals <= 9:
        raise InputError(f"{where}, decimals: expected an integer from 0 to 9, got {decimals!r}")
    return Column(**_declared(data, where))


def _declared(data: dict[str, Any], where: str) -> dict[str, Any]:
    """A column with what its quantity declares."""
    quantity = declared(data["key"])
    if quantity is None:
        if "name" not in data:
            raise InputError(f"{where}: nobody declares {data['key']!r}; give its name, unit and direction here")
        return data
    meant = {"unit": quantity.unit, "higher_is_better": quantity.higher_is_better}
    for name, value in meant.items():
        if data.get(name, value) != value:
            raise InputError(
                f"{where}, {name}: {data['key']} is declared with {value!r}, not {data[name]!r}; leave it out"
            )
    return meant | {"name": capital(quantity.name), "decimals": quantity.decimals} | data


def _row(entry: Any, columns: tuple[Column, ...], path: Path, index: int) -> Row:
    name = entry.get("name", index) if isinstance(entry, dict) else index
    where = f"{path}, row {name!r}"
    data = mapping_of(entry, Row, where)
    check_texts(data, ("name",), ("unavailable", "not_comparable", "baseline"), where)
    data |= {key: strings(data.get(key), f"{where}, {key}") for key in ("overrides", "caveats")}
    data["reported"] = reported_of(data.get("reported") or {}, [column.key for column in columns], where)
    return Row(**data)


def _claim(entry: Any, columns: Sequence[Column], rows: Sequence[Row], path: Path) -> Claim:
    """An order that the paper claims, between rows and in a column that the table has."""
    claim = Claim(**mapping_of(entry, Claim, f"{path}, claims"))
    known = {"row": [row.name for row in rows], "column": [column.key for column in columns]}
    for kind, name in (("row", claim.better), ("row", claim.than), ("column", claim.column)):
        if name not in known[kind]:
            raise InputError(f"{path}, claims: no {kind} {name!r}; the {kind}s are {', '.join(known[kind])}")
    return claim


def _figure(entry: Any, columns: Sequence[Column], rows: Sequence[Row], path: Path) -> Figure:
    """What is drawn: `x` and `y` may be one column or a list; `over` is in the place of `x`."""
    said = mapping_of(entry, Figure, f"{path}, figure", optional=("x", "over", "by"))
    x, y = ((one,) if isinstance(one, str) else tuple(one) for one in (said.get("x") or (), said["y"]))
    figure = Figure(x=x, y=y, over=said.get("over", ""), by=said.get("by", ""))
    known = [column.key for column in columns]
    for key in (*figure.x, *figure.y):
        if key not in known:
            raise InputError(f"{path}, figure: no column {key!r}; the columns are {', '.join(known)}")
    if bool(figure.x) is bool(figure.over):
        raise InputError(f"{path}, figure: either x, columns, or over, a setting of the rows")
    if figure.by and not figure.over:
        raise InputError(f"{path}, figure: by goes with over")
    if len(figure.x) > 1 and len(figure.y) > 1:
        raise InputError(f"{path}, figure: several x go with one y")
    if figure.over and sum(figure.setting(row) is not None for row in rows) < 2:
        raise InputError(f"{path}, figure: fewer than two rows give a number to {figure.over!r}")
    for row in rows:
        if figure.by and figure.setting(row) is not None and not row.said(figure.by):
            raise InputError(f"{path}, figure: row {row.name!r} gives no value to {figure.by!r}")
    return figure


def _scale(entry: Any, path: Path) -> dict[str, tuple[str, ...]]:
    """The overrides per scale; `paper` is the recipe as it is and so stays empty."""
    entry = {} if entry is None else entry
    if not isinstance(entry, dict) or not set(entry) <= set(SCALES):
        raise InputError(f"{path}, scale: expected overrides under {', '.join(SCALES)}, got {entry!r}")
    if entry.get("paper"):
        raise InputError(f"{path}, scale, paper: must be empty; the recipe itself is the paper's scale")
    return {scale: strings(entry.get(scale), f"{path}, scale, {scale}") for scale in SCALES}


def _check_names(table: Table, path: Path) -> None:
    """Names are unique and every baseline is a row."""
    for kind, names in (("row", [r.name for r in table.rows]), ("column", [c.key for c in table.columns])):
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"{path}, {kind}s: {', '.join(repeated)} appears more than once")
    known = {row.name for row in table.rows}
    for where, name in [(str(path), table.baseline), *((f"{path}, row {r.name!r}", r.baseline) for r in table.rows)]:
        if name is not None and name not in known:
            raise InputError(f"{where}, baseline: no row {name!r}; the rows are {', '.join(sorted(known))}")
