"""The page's plots: a metric along a sweep, and accuracy against cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from zoomexp.results.report.groups import SeedGroup, distinguish, shown
from zoomexp.results.report.plot import Plot, Point, draw, wide
from zoomexp.results.report.sweeps import Sweep, is_number
from zoomexp.results.statistics import Interval

METRICS = {"test/acc1": "Test top-1 accuracy (%)", "test/pointing_game": "Pointing game (%)"}
PROTOCOL = ("trainer.max_epochs", "trainer.limit_train_batches", "trainer.limit_test_batches")
NO_PROTOCOL = ("dataset.batch_size", "dataset.eval_batch_size")


@dataclass(frozen=True, eq=False)
class Panel:
    """Groups on the same data and schedule: a plot per cost, and the groups in the order of their numbers."""

    name: str
    plots: tuple[Plot, ...]
    groups: tuple[SeedGroup, ...]
    labels: tuple[str, ...]


def sweep_plots(sweep: Sweep) -> list[Plot]:
    """One plot for each of `METRICS` that all groups of the sweep hold.

    Numbers lie on their own scale; where they span much and include zero, and where the values are no numbers, the
    positions are equally spaced.
    """
    spaced = not all(is_number(value) for value in sweep.values)
    spaced = spaced or (wide(sweep.values) and min(sweep.values) <= 0)
    plots = []
    for key, title in METRICS.items():
        intervals = [group.interval(key) for group in sweep.groups]
        if None in intervals:
            continue
        xs = range(len(sweep.values)) if spaced else sweep.values
        points = [_point(x, i, shown(v)) for x, i, v in zip(xs, intervals, sweep.values, strict=True)]
        names = [shown(value) for value in sweep.values] if spaced else []
        label = sweep.key + (" (equally spaced)" if spaced and is_number(sweep.values[0]) else "")
        joined = is_number(sweep.values[-1])  # numbers come first
        plots.append(draw(f"{title} along {sweep.key}, {sweep.name}", label, title, points, names, joined))
    return plots


def cost_panels(groups: Sequence[SeedGroup]) -> list[Panel]:
    """Panels of at least two groups with the same data set, splits and schedule: only those may be compared."""
    found: dict[tuple, list[SeedGroup]] = {}
    for group in groups:
        if group.interval("test/acc1") and group.interval("cost/macs"):
            protocol = {key: value for key, value in group.config.items() if _of_protocol(key)}
            identity = (group.choices.get("dataset"), *((key, repr(value)) for key, value in sorted(protocol.items())))
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
    plots = [_scatter(name, groups, labels, "cost/macs", f"MACs per image ({unit})", scale)]
    if all(group.interval("cost/img_per_s") for group in groups):
        plots.append(_scatter(name, groups, labels, "cost/img_per_s", "Training speed (images/s)", 1.0))
    return Panel(name, tuple(plots), tuple(groups), labels)


def _label(group: SeedGroup, groups: Sequence[SeedGroup]) -> str:
    """The group's name, and what tells it from others of that name."""
    alike = [other for other in groups if other.name == group.name]
    more = distinguish([other.config for other in alike])[alike.index(group)]
    return f"{group.name} ({more})" if more else group.name


def _scatter(
    name: str, groups: Sequence[SeedGroup], labels: Sequence[str], key: str, x_label: str, scale: float
) -> Plot:
    points = []
    for i, (group, label) in enumerate(zip(groups, labels, strict=True), start=1):
        x = group.interval(key).mean / scale
        hollow = group.choices.get("attention") in (None, "none")
        points.append(_point(x, group.interval("test/acc1"), label, str(i), hollow))
    return draw(f"Accuracy against {x_label.lower()}, {name}", x_label, METRICS["test/acc1"], points)


def _point(x: float, interval: Interval, label: str, text: str = "", hollow: bool = False) -> Point:
    half = interval.half_width
    low, high = (None, None) if half is None else (interval.mean - half, interval.mean + half)
    spread = "one seed" if half is None else f"± {half:.2f}, n={interval.n}"
    return Point(x, interval.mean, f"{label}: {interval.mean:.2f} % ({spread})", low, high, text=text, hollow=hollow)
