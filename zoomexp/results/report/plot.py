"""Turns intervals into the coordinates that `templates/plot.svg.j2` draws; colours and fonts are the page's."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 46
# Where a point's text may stand: shift to the right, shift down, and which end of the text stands there.
BESIDE = ((8, 4, "start"), (-8, 4, "end"), (7, -7, "start"), (-7, -7, "end"), (7, 15, "start"), (-7, 15, "end"),
          (8, -20, "start"), (-8, -20, "end"), (8, 28, "start"), (-8, 28, "end"))  # fmt: skip
Bounds = tuple[float | None, float | None] | None
FULL_LOG = 20  # ratio of largest to smallest from which an axis is logarithmic


@dataclass(frozen=True)
class Point:
    """A mean with its interval; `low` and `high` are None where there is none. `text` stands beside it."""

    x: float
    y: float
    label: str
    low: float | None = None
    high: float | None = None
    text: str = ""
    hollow: bool = False


@dataclass(frozen=True)
class Text:
    """A point's text and where it stands."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Tick:
    """A position in pixels and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """Everything in pixels, ready to be drawn. `band` and `line` are SVG point lists, empty where there is none."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    texts: tuple[Text, ...]
    line: str = ""
    band: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Axis:
    """A scale: data to pixels, and its ticks."""

    place: Callable[[float], float]
    ticks: tuple[Tick, ...]


def draw(
    title: str,
    x_label: str,
    y_label: str,
    points: Sequence[Point],
    x_names: Sequence[str] = (),
    joined: bool = False,
    bounds: Bounds = (None, None),
) -> Plot:
    """Lay a plot out.

    Args:
        title: for those who cannot see it.
        x_label: with the unit.
        y_label: with the unit.
        points: in the order of x.
        x_names: names of the positions 0, 1, ... of x; empty for a numeric axis.
        joined: whether a line and the intervals' band join the points.
        bounds: least and largest value of y there can be; the axis ends there, and so do the intervals.
    """
    x_axis = _named_axis(x_names) if x_names else _axis([p.x for p in points], LEFT, WIDTH - RIGHT)
    ends = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    y_axis = _axis([_clipped(v, bounds) for v in ends], HEIGHT - BOTTOM, TOP, bounds)
    placed = tuple(_placed(point, x_axis.place, y_axis.place, bounds) for point in points)
    line, band = (_line(placed), _band(placed)) if joined else ("", "")
    return Plot(title, x_label, y_label, x_axis.ticks, y_axis.ticks, placed, _texts(placed), line, band)


def number(value: float) -> str:
    """A number as an axis shows it.

    >>> number(0.05), number(1500.0), number(2e6)
    ('0.05', '1,500', '2,000,000')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def wide(values: Sequence[float]) -> bool:
    """Whether values span so much that equal steps would hide most of them."""
    positive = [value for value in values if value > 0]
    return len(positive) > 1 and max(positive) / min(positive) >= FULL_LOG


def _clipped(value: float, bounds: Bounds) -> float:
    """The nearest value within the bounds."""
    low, high = (-math.inf, math.inf) if bounds is None else bounds
    return min(math.inf if high is None else high, max(-math.inf if low is None else low, value))


def _axis(values: Sequence[float], start: float, end: float, bounds: Bounds = None) -> Axis:
    """A linear axis with some air that ends at the bounds; without any a logarithmic one, if positive values span much.

    Bounds of None are none; (None, None) is a linear axis without an end.
    """
    if bounds is None and min(values) > 0 and wide(values):
        return _log_axis(values, start, end)
    low, high = min(values), max(values)
    air = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = _clipped(low - air, bounds), _clipped(high + air, bounds)
    ticks = [t for t in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]
    return _scaled(ticks, low, high, start, end)


def _log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    low, high = math.log10(min(values)), math.log10(max(values))
    air = 0.08 * (high - low)
    low, high = low - air, high + air
    subs = (1.0,) if high - low > 3 else (1.0, 2.0, 5.0) if high - low < 1.7 else (1.0, 3.0)
    ticks = LogLocator(10, subs=subs, numticks=20).tick_values(10**low, 10**high)
    ticks = [t for t in ticks if low <= math.log10(t) <= high]
    scale = _scaled([math.log10(t) for t in ticks], low, high, start, end)
    named = tuple(Tick(tick.at, number(t)) for tick, t in zip(scale.ticks, ticks, strict=True))
    return Axis(lambda value: scale.place(math.log10(value)), named)


def _named_axis(names: Sequence[str]) -> Axis:
    """Equally spaced positions 0, 1 and so on."""
    axis = _scaled(range(len(names)), -0.4, len(names) - 0.6, LEFT, WIDTH - RIGHT)
    return Axis(axis.place, tuple(Tick(tick.at, name) for tick, name in zip(axis.ticks, names, strict=True)))


def _scaled(ticks: Sequence[float], low: float, high: float, start: float, end: float) -> Axis:
    def place(value: float) -> float:
        return round(start + (value - low) / (high - low) * (end - start), 2)

    return Axis(place, tuple(Tick(place(tick), number(round(tick, 10))) for tick in ticks))


def _placed(point: Point, x: Callable[[float], float], y: Callable[[float], float], bounds: Bounds) -> Point:
    """The point in pixels; an interval is cut off where the axis ends."""
    low, high = (None if v is None else y(_clipped(v, bounds)) for v in (point.low, point.high))
    return Point(x(point.x), y(point.y), point.label, low, high, point.text, point.hollow)


def _texts(points: Sequence[Point]) -> tuple[Text, ...]:
    """Each text at the first place beside its point that no mark and no other text takes."""
    taken, texts = [(point.x, point.y) for point in points], []
    for point in points:
        if point.text:
            places = [(point.x + dx, point.y + dy, anchor) for dx, dy, anchor in BESIDE]
            free = (place for place in places if _free(_middle(*place, point.text), taken, point))
            x, y, anchor = next(free, places[0])
            taken.append(_middle(x, y, anchor, point.text))
            texts.append(Text(x, y, anchor, point.text))
    return tuple(texts)


def _middle(x: float, y: float, anchor: str, text: str) -> tuple[float, float]:
    """The middle of a text, each letter about 7 pixels wide and 8 high."""
    half = 3.5 * len(text)
    return (x + half if anchor == "start" else x - half), y - 4


def _free(place: tuple[float, float], taken: Sequence[tuple[float, float]], own: Point) -> bool:
    """Whether a text of one or two letters at `place` stays clear of what is taken and inside the plot."""
    x, y = place
    clear = all(abs(x - u) > 13 or abs(y - v) > 10 for u, v in taken if (u, v) != (own.x, own.y))
    return clear and LEFT + 6 < x < WIDTH and TOP - 6 < y < HEIGHT - BOTTOM - 4


def _line(points: Sequence[Point]) -> str:
    return " ".join(f"{p.x},{p.y}" for p in points)


def _band(points: Sequence[Point]) -> str:
    """Along the upper ends and back along the lower ones; a point without an interval narrows the band to itself."""
    upper = [f"{p.x},{p.y if p.high is None else p.high}" for p in points]
    lower = [f"{p.x},{p.y if p.low is None else p.low}" for p in points]
    return " ".join(upper + lower[::-1])
