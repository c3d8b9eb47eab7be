"""Which plots the page has: quantities along sweeps, modules on common axes, and accuracy against cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from zoomexp.metrics.declared import MACS
from zoomexp.metrics.quantity import Quantity, capital
from zoomexp.results.recorded_quantities import meaning, overview
from zoomexp.results.report.groups import SeedGroup, distinguish, shown
from zoomexp.results.report.plots import Axis, Plot, Point, curves, scatter, wide
from zoomexp.results.report.sweeps import Sweep, is_number
from zoomexp.results.statistics import Interval

PROTOCOL = ("trainer.max_epochs", "trainer.limit_train_batches", "trainer.limit_test_batches")
NO_PROTOCOL = ("dataset.batch_size", "dataset.eval_batch_size")
TOGETHER = 10  # series in one plot; more cannot be told apart


@dataclass(frozen=True, eq=False)
class Panel:
    """Groups on the same data and schedule: a plot per cost, and the groups in the order of their numbers."""

    name: str
    main: Quantity
    plots: tuple[Plot, ...]
    groups: tuple[SeedGroup, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CommonAxes:
    """Sweeps of one option on the same data and schedule, each a series, and a plot for each quantity."""

    key: str
    name: str
    sweeps: tuple[Sweep, ...]
    plots: tuple[Plot, ...]


def common_axes(sweeps: Sequence[Sweep]) -> list[CommonAxes]:
    """The sweeps, those of one option on the same data and schedule together, at most `TOGETHER` of them."""
    found: dict[tuple[Any, ...], list[Sweep]] = {}
    for sweep in sweeps:
        keys = sweep.key.split(" = ")
        same = {k: v for k, v in protocol_of(sweep.groups[0]).items() if k not in keys}
        found.setdefault((sweep.key, _data(sweep.groups[0]), repr(sorted(same.items()))), []).append(sweep)
    whole = [members[i : i + TOGETHER] for members in found.values() for i in range(0, len(members), TOGETHER)]
    axes = [_axes(members) for members in whole]
    return [one for one in axes if one.plots]


def _axes(sweeps: Sequence[Sweep]) -> CommonAxes:
    first = sweeps[0]
    name = first.name if len(sweeps) == 1 else f"{_data(first.groups[0])}: {len(sweeps)} systems"
    return CommonAxes(first.key, name, tuple(sweeps), tuple(_sweep_plots(first.key, name, sweeps)))


def _sweep_plots(key: str, name: str, sweeps: Sequence[Sweep]) -> list[Plot]:
    """One plot for each quantity of the overviews that all groups of a sweep hold.

    Numbers lie on their own scale; where they span much and include zero, and where the values are no numbers, the
    positions are equally spaced.
    """
    values = _values(sweeps)
    spaced = not all(is_number(value) for value in values) or (wide(values) and min(values) <= 0)
    names = tuple(shown(value) for value in values) if spaced else ()
    x = Axis(key + (" (equally spaced)" if spaced and is_number(values[0]) else ""), 4, names)
    joined = is_number(values[-1])  # numbers come first
    plots = []
    for full, quantity in overview([run.facts for one in sweeps for group in one.groups for run in group.runs]).items():
        if points := [point for sweep in sweeps for point in _along(sweep, full, quantity, spaced)]:
            y = _axis(quantity)
            plots.append(curves(f"{y.title} along {key}, {name}", x, y, points, joined))
    return plots


def _values(sweeps: Sequence[Sweep]) -> list[Any]:
    """Every value of the sweeps in order, each once; 1, 1.0 and true are three."""
    found = {repr(value): value for sweep in sweeps for value in sweep.values}
    return sorted(found.values(), key=lambda v: (not is_number(v), v if is_number(v) else 0.0, str(v)))


def _along(sweep: Sweep, full: str, quantity: Quantity, spaced: bool) -> list[Point]:
    intervals = [group.interval(full) for group in sweep.groups]
    if None in intervals:
        return []
    series = sweep.name.partition(": ")[2]
    return [
        _point(shown(value) if spaced else value, cast(Interval, interval), series)
        for value, interval in zip(sweep.values, intervals, strict=True)
    ]


def cost_panels(groups: Sequence[SeedGroup]) -> list[Panel]:
    """Panels of at least two groups with the same data, splits, schedule and main quantity: only those compare."""
    found: dict[tuple[Any, ...], list[SeedGroup]] = {}
    for group in groups:
        if group.interval(group.main) and group.interval("cost/macs"):
            same = ((key, repr(value)) for key, value in sorted(protocol_of(group).items()))
            found.setdefault((_data(group), group.main, *same), []).append(group)
    return _panels([members for members in found.values() if len(members) > 1])


def protocol_of(group: SeedGroup) -> dict[str, Any]:
    """What of a config must be the same in runs that are compared: the data and the schedule."""
    return {key: value for key, value in group.config.items() if _of_protocol(key)}


def _of_protocol(key: str) -> bool:
    return key in PROTOCOL or (key.startswith("dataset.") and key not in NO_PROTOCOL)


def _data(group: SeedGroup) -> str:
    return str(group.choices.get("dataset"))


def _panels(found: Sequence[Sequence[SeedGroup]]) -> list[Panel]:
    alike: dict[str, list[Sequence[SeedGroup]]] = {}
    for members in found:
        alike.setdefault(_data(members[0]), []).append(members)
    panels = []
    for data, panels_of_data in alike.items():
        for members, more in zip(
            panels_of_data, distinguish([protocol_of(one[0]) for one in panels_of_data]), strict=True
        ):
            panels.append(_panel(f"{data} ({more})" if more else data, members))
    return sorted(panels, key=lambda panel: panel.name)


def _panel(name: str, members: Sequence[SeedGroup]) -> Panel:
    groups = sorted(members, key=lambda group: (group.measured("cost/macs").mean, group.name))
    labels, main = labels_of(groups), meaning(groups[0].main, [run.facts for run in groups[0].runs])
    large = groups[-1].measured("cost/macs").mean >= 1e9
    unit, scale = ("G", 1e9) if large else ("M", 1e6)
    macs = {group: group.measured("cost/macs").mean / scale for group in groups}
    plots = [_against(name, main, groups, labels, macs, f"{MACS.name} per image ({unit})")]
    for device, times in _times(groups).items():
        where = f"{name}, {device}" if device else name
        plots.append(_against(where, main, groups, labels, times, "training time per image (ms)"))
    return Panel(name, main, tuple(plots), tuple(groups), tuple(labels))


def _times(groups: Sequence[SeedGroup]) -> dict[str, dict[SeedGroup, float]]:
    """Device -> milliseconds a training image takes in each group measured on it, of at least two groups."""
    found: dict[str, dict[SeedGroup, float]] = {}
    for group in groups:
        devices = {str(run.facts["cost"].get("device") or "") for run in group.runs}
        speed = group.interval("cost/img_per_s")
        if speed and speed.mean > 0 and len(devices) == 1:
            found.setdefault(devices.pop(), {})[group] = 1000 / speed.mean
    return {device: times for device, times in sorted(found.items()) if len(times) > 1}


def labels_of(groups: Sequence[SeedGroup]) -> list[str]:
    """Each group's name, and what tells it from others of that name."""
    alike: dict[str, list[SeedGroup]] = {}
    for group in groups:
        alike.setdefault(group.name, []).append(group)
    labels = {}
    for name, members in alike.items():
        for group, more in zip(members, distinguish([one.config for one in members]), strict=True):
            labels[group] = f"{name} ({more})" if more else name
    return [labels[group] for group in groups]


def _against(
    name: str,
    main: Quantity,
    groups: Sequence[SeedGroup],
    labels: Sequence[str],
    costs: dict[SeedGroup, float],
    x_title: str,
) -> Plot:
    known = [
        (i, group, label) for i, (group, label) in enumerate(zip(groups, labels, strict=True), 1) if group in costs
    ]
    best = front([(costs[group], group.measured(group.main).mean) for _, group, _ in known], main.higher_is_better)
    points = [
        _point(costs[group], group.measured(group.main), _module(group), label, number, i in best)
        for i, (number, group, label) in enumerate(known)
    ]
    return scatter(f"{capital(main.name)} against {x_title}, {name}", Axis(capital(x_title)), _axis(main), points)


def front(points: Sequence[tuple[float, float]], higher_is_better: bool | None) -> set[int]:
    """The points on the Pareto front, by their place: those that none is better than at no more cost.

    Args:
        points: cost and quality; the cost is to be low.
        higher_is_better: of the quality; None, where neither is, leaves the front empty.

    >>> front([(1.0, 90.0), (2.0, 89.0), (2.0, 92.0), (3.0, 92.0)], True)
    {0, 2}
    """
    if higher_is_better is None:
        return set()
    sign, best, found = (1 if higher_is_better else -1), None, set()
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -sign * points[i][1])):
        if best is None or sign * points[i][1] > best:
            best = sign * points[i][1]
            found.add(i)
    return found


def _module(group: SeedGroup) -> str:
    attention = str(group.choices.get("attention") or "none")
    tokens = str(group.choices.get("tokens") or "uniform")
    parts = [name for name, nothing in ((attention, "none"), (tokens, "uniform")) if name not in (nothing, "none")]
    return " + ".join(parts) or "no module"


def _axis(quantity: Quantity) -> Axis:
    return Axis(capital(f"test {quantity.title}"), quantity.decimals, bounds=quantity.bounds)


def _point(
    x: float | str, interval: Interval, series: str, system: str = "", number: int = 0, on_front: bool = False
) -> Point:
    low, high = (None, None) if interval.half_width is None else interval.ends()
    return Point(x, interval.mean, series, low, high, interval.n, system, number, on_front)
