"""The page's plots: a metric along a sweep, and accuracy against cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from zoomexp.metrics.declared import MACS, SPEED
from zoomexp.metrics.quantity import Quantity, capital
from zoomexp.results.recorded_quantities import meaning, overview
from zoomexp.results.report.groups import SeedGroup, distinguish, shown
from zoomexp.results.report.plot import Plot, Point, draw, wide
from zoomexp.results.report.sweeps import Sweep, is_number
from zoomexp.results.statistics import Interval

PROTOCOL = ("trainer.max_epochs", "trainer.limit_train_batches", "trainer.limit_test_batches")
NO_PROTOCOL = ("dataset.batch_size", "dataset.eval_batch_size")


@dataclass(frozen=True, eq=False)
class Panel:
    """Groups on the same data and schedule: a plot per cost, and the groups in the order of their numbers."""

    name: str
    main: Quantity
    plots: tuple[Plot, ...]
    groups: tuple[SeedGroup, ...]
    labels: tuple[str, ...]


def sweep_plots(sweep: Sweep) -> list[Plot]:
    """One plot for each quantity of the overviews that all groups of the sweep hold.

    Numbers lie on their own scale; where they span much and include zero, and where the values are no numbers, the
    positions are equally spaced.
    """
    spaced = not all(is_number(value) for value in sweep.values)
    spaced = spaced or (wide(sweep.values) and min(sweep.values) <= 0)
    plots = []
    for key, quantity in overview([run.facts for group in sweep.groups for run in group.runs]).items():
        intervals, title = [group.interval(key) for group in sweep.groups], capital(f"test {quantity.title}")
        if None in intervals:
            continue
        xs = range(len(sweep.values)) if spaced else sweep.values
        points = [_point(quantity, x, i, shown(v)) for x, i, v in zip(xs, intervals, sweep.values, strict=True)]
        names = [shown(value) for value in sweep.values] if spaced else []
        label = sweep.key + (" (equally spaced)" if spaced and is_number(sweep.values[0]) else "")
        joined = is_number(sweep.values[-1])  # numbers come first
        along = f"{title} along {sweep.key}, {sweep.name}"
        plots.append(draw(along, label, title, points, names, joined, quantity.bounds))
    return plots


def cost_panels(groups: Sequence[SeedGroup]) -> list[Panel]:
    """Panels of at least two groups with the same data, splits, schedule and main quantity: only those compare."""
    found: dict[tuple, list[SeedGroup]] = {}
    for group in groups:
        if group.interval(group.main) and group.interval("cost/macs"):
            protocol = {key: value for key, value in group.config.items() if _of_protocol(key)}
            same = ((key, repr(value)) for key, value in sorted(protocol.items()))
            identity = (group.choices.get("dataset"), group.main, *same)
            found.setdefault(identity, []).append(group)
    return _panels([members for members in found.values() if len(members) > 1])


def _of_protocol(key: str) -> bool:
    return key in PROTOCOL or (key.startswith("dataset.") and key not in NO_PROTOCOL)


def _panels(found: Sequence[Sequence[SeedGroup]]) -> list[Panel]:
    panels = []
    for members in found:
        data = str(members[0].choices.get("dataset"))
        alike = [other for other in found if str(other[0].choices.get("dataset")) == data]
        protocols = [{k: v for k, v in other[0].config.items() if _of_protocol(k)} for other in alike]
        more = distinguish(protocols)[alike.index(members)]
        panels.append(_panel(f"{data} ({more})" if more else data, members))
    return sorted(panels, key=lambda panel: panel.name)


def _panel(name: str, members: Sequence[SeedGroup]) -> Panel:
    groups = sorted(members, key=lambda group: (group.interval("cost/macs").mean, group.name))
    labels = tuple(_label(group, groups) for group in groups)
    large = groups[-1].interval("cost/macs").mean >= 1e9
    unit, scale = ("G", 1e9) if large else ("M", 1e6)
    main = meaning(groups[0].main, [run.facts for run in groups[0].runs])
    plots = [_scatter(name, main, groups, labels, "cost/macs", f"{MACS.name} per image ({unit})", scale)]
    if all(group.interval("cost/img_per_s") for group in groups):
        plots.append(_scatter(name, main, groups, labels, "cost/img_per_s", capital(SPEED.title), 1.0))
    return Panel(name, main, tuple(plots), tuple(groups), labels)


def _label(group: SeedGroup, groups: Sequence[SeedGroup]) -> str:
    """The group's name, and what tells it from others of that name."""
    alike = [other for other in groups if other.name == group.name]
    more = distinguish([other.config for other in alike])[alike.index(group)]
    return f"{group.name} ({more})" if more else group.name


def _scatter(
    name: str,
    main: Quantity,
    groups: Sequence[SeedGroup],
    labels: Sequence[str],
    key: str,
    x_label: str,
    scale: float,
) -> Plot:
    points = []
    for i, (group, label) in enumerate(zip(groups, labels, strict=True), start=1):
        x = group.interval(key).mean / scale
        hollow = group.choices.get("attention") in (None, "none")
        points.append(_point(main, x, group.interval(group.main), label, str(i), hollow))
    title = f"{capital(main.name)} against {x_label.lower()}, {name}"
    return draw(title, x_label, capital(f"test {main.title}"), points, bounds=main.bounds)


def _point(quantity: Quantity, x: float, interval: Interval, label: str, text: str = "", hollow: bool = False) -> Point:
    half = interval.half_width
    low, high = (None, None) if half is None else (interval.mean - half, interval.mean + half)
    spread = "one seed" if half is None else f"± {quantity.number(half)}, n={interval.n}"
    said = f"{label}: {quantity.text(interval.mean)} ({spread})"
    return Point(x, interval.mean, said, low, high, text=text, hollow=hollow)
