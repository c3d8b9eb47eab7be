"""Two runs side by side: the options in which they differ, and their scores with the paired test."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from zoomexp.results.comparison import compare
from zoomexp.results.identity import HYDRA_KEYS, NOT_SCIENCE, completed
from zoomexp.results.recorded_quantities import meaning, overview
from zoomexp.results.report.groups import flatten, shown
from zoomexp.results.report.runs import RecordedRun
from zoomexp.results.statistics import p_text

COSTS = ("cost/params", "cost/macs_m", "cost/train_s", "cost/img_per_s")


def differences(one: RecordedRun, other: RecordedRun) -> dict[str, tuple[str, str]]:
    """Option -> its value in both, of the options that decide numbers; "-" where a run has no such option."""
    sides = [_options(run) for run in (one, other)]
    pairs = {name: (sides[0].get(name, "-"), sides[1].get(name, "-")) for name in {**sides[0], **sides[1]}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _options(run: RecordedRun) -> dict[str, str]:
    config = {group: node for group, node in run.config.items() if node is not None}
    options = flatten(completed(config))
    return {name: shown(value) for name, value in options.items() if not _ignored(name)}


def _ignored(name: str) -> bool:
    return name.rpartition(".")[2] in HYDRA_KEYS or any(
        name == one or name.startswith(f"{one}.") for one in NOT_SCIENCE
    )


def config_table(one: RecordedRun, other: RecordedRun) -> Table:
    """The options in which two runs differ."""
    table = Table("option", *map(escape, _names(one, other)), box=None, pad_edge=False, title_justify="left")
    table.title = "config: the same" if not (found := differences(one, other)) else "config"
    for name, pair in found.items():
        table.add_row(escape(name), *map(escape, pair))
    return table


def score_table(one: RecordedRun, other: RecordedRun) -> Table:
    """Scores and costs of two runs, the second minus the first, and what the same test images say of it."""
    table = Table(box=None, pad_edge=False, title="scores", title_justify="left")
    for name in ("quantity", *_names(one, other), "difference", "on the same test images"):
        table.add_column(escape(name), justify="left" if name in ("quantity", "on the same test images") else "right")
    records = [one.facts, other.facts]
    for full, quantity in (overview(records) | {name: meaning(name, records) for name in COSTS}).items():
        first, second = one.value(full), other.value(full)
        if first is None and second is None:
            continue
        texts = ["-" if value is None else quantity.number(value) for value in (first, second)]
        apart = "" if first is None or second is None else f"{second - first:+,.{quantity.places(second)}f}"
        table.add_row(escape(quantity.title), *texts, apart, paired_text(full, one, other))
    return table


def paired_text(full: str, one: RecordedRun, other: RecordedRun) -> str:
    """The paired test of the second run against the first; empty where there is none, or it cannot be made."""
    if one.result is None or other.result is None:
        return ""
    test = compare(full, meaning(full, [one.facts]), [other.result.predictions], [one.result.predictions])
    if test is None:
        return ""
    between = f", 95 % {test.low:+.2f} to {test.high:+.2f}" if test.low is not None else ""
    return f"{test.name}: {p_text(test.p_value)}{between}"


def _names(one: RecordedRun, other: RecordedRun) -> Mapping[str, Any] | list[str]:
    """What tells the two apart in a heading: the last parts of their paths, as many as it takes."""
    parts = [run.path.split("/") for run in (one, other)]
    for count in range(1, 4):
        names = ["/".join(part[-count:]) for part in parts]
        if names[0] != names[1]:
            return names
    return ["first", "second"]
