"""Plots as Vega-Lite specifications with their data in them; colours and sizes of letters are the page's script's."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from zoomexp.results.statistics import Bounds, clipped

FULL_LOG = 20  # ratio of largest to smallest from which an axis is logarithmic
NUMBERED = 12  # points that have their numbers beside them; more would lie on one another
HEIGHT = 260  # pixels
PICKED = {"name": "picked", "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Args:
        title: with the unit.
        decimals: of what hovering says.
        names: the positions in their order, where x holds names and no numbers.
        bounds: least and largest value there can be; intervals are cut off there.
    """

    title: str
    decimals: int = 2
    names: tuple[str, ...] = ()
    bounds: Bounds = (None, None)


@dataclass(frozen=True)
class Point:
    """A mean with its interval.

    Args:
        x: a number, or a name of the axis.
        y: the mean.
        series: what is joined, and has one colour.
        low: lower end of the interval; None where there is none.
        high: upper end.
        seeds: how many runs it is the mean of.
        system: what hovering names, where that is more than the series.
        number: what stands beside it; 0 for nothing.
        front: whether no other point is better at no more cost.
    """

    x: float | str
    y: float
    series: str
    low: float | None = None
    high: float | None = None
    seeds: int = 1
    system: str = ""
    number: int = 0
    front: bool = False


@dataclass(frozen=True)
class Plot:
    """A specification, and the headings of its data by name, in the order of a table."""

    title: str
    spec: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)


def curves(title: str, x: Axis, y: Axis, points: Sequence[Point], joined: bool = True) -> Plot:
    """Values along x: a line with its interval's band for each series; dots with whiskers where they are not `joined`.

    Args:
        title: also for those who cannot see the plot.
        x: the axis.
        y: the axis.
        points: those of a series in the order of x.
        joined: whether what lies between two points can be.
    """
    columns = _columns(points, x, y)
    band = {"mark": {"type": "area", "opacity": 0.18}, "transform": BAND, "encoding": _between("band_low", "band_high")}
    layers: list[Any] = [band, {"mark": {"type": "line"}}] if joined and not x.names else []
    layers += [{"mark": {"type": "line"}}] if joined and x.names else []
    layers += [] if joined and not x.names else [_whiskers()]
    return _plot(title, x, y, points, columns, [*layers, _dots(columns, x, y, 30 if joined else 70)])


def scatter(title: str, x: Axis, y: Axis, points: Sequence[Point]) -> Plot:
    """Values against costs, with their intervals, and the front: what no other is better than at no more cost."""
    columns = _columns(points, x, y)
    front = {
        "mark": {"type": "line", "interpolate": "step-after", "strokeDash": [5, 4], "color": "gray", "aria": False},
        "transform": [{"filter": "datum.front"}],
        "encoding": {"color": {"value": "gray"}},
    }
    numbers = {
        "mark": {"type": "text", "dx": 9, "dy": -7, "align": "left", "aria": False},
        "encoding": {"text": {"field": "number"}, "opacity": {"value": 1}},
    }
    few = len(points) <= NUMBERED and any(point.number for point in points)
    layers = [front, _whiskers(), _dots(columns, x, y, 80), *([numbers] if few else [])]
    return _plot(title, x, y, points, columns, layers)


def _within(end: float | None, bounds: Bounds) -> float | None:
    return None if end is None else clipped(end, bounds)


def wide(values: Sequence[float]) -> bool:
    """Whether values span so much that equal steps would hide most of them."""
    positive = [value for value in values if value > 0]
    return len(positive) > 1 and max(positive) / min(positive) >= FULL_LOG


BAND = [  # a point without an interval narrows the band to itself
    {"calculate": f"isValid(datum.{end}) ? datum.{end} : datum.y", "as": f"band_{end}"} for end in ("low", "high")
]


def _between(low: str, high: str) -> dict[str, Any]:
    return {"y": {"field": low, "type": "quantitative"}, "y2": {"field": high}}


def _whiskers() -> dict[str, Any]:
    transform = [{"filter": "isValid(datum.low)"}]
    return {"mark": {"type": "rule", "aria": False}, "transform": transform, "encoding": _between("low", "high")}


def _dots(columns: Mapping[str, str], x: Axis, y: Axis, size: int) -> dict[str, Any]:
    decimals = {"x": x.decimals, **dict.fromkeys(("y", "low", "high"), y.decimals)}
    said = [
        {"field": name, "title": heading} | ({"format": f",.{decimals[name]}f"} if _is_number(name, x) else {})
        for name, heading in columns.items()
    ]
    mark = {"type": "point", "filled": True, "size": size}
    shape = {"shape": _series() | {"legend": None}} if "series" in columns else {}
    return {"mark": mark, "params": [PICKED], "encoding": {"tooltip": said, **shape}}


def _is_number(name: str, x: Axis) -> bool:
    return name in ("y", "low", "high") or (name == "x" and not x.names)


def _series() -> dict[str, Any]:
    return {"field": "series", "type": "nominal", "sort": None, "title": None}


def _columns(points: Sequence[Point], x: Axis, y: Axis) -> dict[str, str]:
    """What hovering and the table of values show."""
    columns = {"series": "Series", "system": "System", "x": x.title, "y": y.title, "low": "95 % from", "high": "to",
               "seeds": "Seeds", "number": "No."}  # fmt: skip
    shown = {"x", "y", *(name for name in columns if len({getattr(point, name) for point in points}) > 1)}
    if any(point.low is not None for point in points):
        shown |= {"low", "high", "seeds"}
    return {name: heading for name, heading in columns.items() if name in shown}


def _plot(
    title: str, x: Axis, y: Axis, points: Sequence[Point], columns: Mapping[str, str], layers: list[dict[str, Any]]
) -> Plot:
    cut = [asdict(p) | {end: _within(getattr(p, end), y.bounds) for end in ("low", "high")} for p in points]
    used = {*columns, "series", "front", "low", "high"}
    values = [{name: value for name, value in row.items() if name in used} for row in cut]
    several = len({point.series for point in points}) > 1
    legend = {"orient": "bottom", "columns": 2, "labelLimit": 280, "symbolOpacity": 1} if several else None
    spec = {
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "description": title,
        "data": {"values": values},
        "encoding": {
            "x": _x(x, points),
            "y": {"field": "y", "type": "quantitative", "title": y.title, "scale": {"zero": False}},
            **({"color": _series() | {"legend": legend}} if several else {}),
            "opacity": {"condition": {"param": "picked", "value": 1}, "value": 0.12},
        },
        "layer": [_without_picking(layer) for layer in layers],
    }
    return Plot(title, spec, columns)


def _without_picking(layer: dict[str, Any]) -> dict[str, Any]:
    """A band keeps its own opacity: the one that follows what is picked in the legend would take its place."""
    if layer["mark"]["type"] != "area":
        return layer
    faded = {"condition": {"param": "picked", "value": layer["mark"]["opacity"]}, "value": 0.02}
    return layer | {"encoding": layer["encoding"] | {"opacity": faded}}


def _x(axis: Axis, points: Sequence[Point]) -> dict[str, Any]:
    if axis.names:
        turned = {"labelAngle": 0 if sum(map(len, axis.names)) <= 40 else -35, "labelLimit": 160}
        return {"field": "x", "type": "ordinal", "title": axis.title, "sort": list(axis.names), "axis": turned}
    values: list[Any] = [point.x for point in points]
    scale = {"type": "log", "nice": False} if min(values) > 0 and wide(values) else {"zero": False, "nice": True}
    beside = 12 if None in axis.bounds else 0  # pixels; an axis does not go on where no value can be
    shown = {"field": "x", "type": "quantitative", "title": axis.title, "scale": {**scale, "padding": beside}}
    return shown if axis.decimals else shown | {"axis": {"tickMinStep": 1}}
