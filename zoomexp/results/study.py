"""The table of a study: per group of runs mean, interval and minimum, since a mean hides the run that died."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from zoomexp.metrics.declared import DECLARED
from zoomexp.metrics.quantity import Quantity, find
from zoomexp.results.statistics import mean_interval
from zoomexp.results.stored import facts_if_finished

SCORES = {f"test/{score}": cast(Quantity, find(score, DECLARED)) for score in ("acc1", "pointing_game")}


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds alone: the facts of their records."""

    name: str
    runs: tuple[Mapping[str, Any], ...]

    def values(self, score: str) -> list[float]:
        """The runs' values of a score; those without it are left out."""
        return [run["metrics"][score] for run in self.runs if score in run["metrics"]]


def read_groups(folder: Path, names: Iterable[str]) -> list[Group]:
    """The finished runs of each group, below a folder of its name."""
    groups = []
    for name in names:
        files = sorted((folder / name.replace(" ", "_")).glob("runs/*/*/*/metrics.json"))
        finished = (facts_if_finished(file.parent) for file in files)
        groups.append(Group(name, tuple(facts for facts in finished if facts is not None)))
    return groups


def table(groups: Sequence[Group], command: str) -> str:
    """Markdown: a row per group, one over all, and what it was measured on."""
    whole = Group("all", tuple(run for group in groups for run in group.runs))
    titles = " | ".join(f"{score.title}: mean +- 95 % | minimum" for score in SCORES.values())
    lines = [
        f"| runs | n | {titles} | health |",
        "|---" * (2 * len(SCORES) + 3) + "|",
        *(row(group) for group in [*groups, whole] if group.runs),
    ]
    return "\n".join([*lines, "", f"`{command}`", *measured_on(whole), ""])


def row(group: Group) -> str:
    """A group's line."""
    cells = [group.name, str(len(group.runs))]
    for name, score in SCORES.items():
        values = group.values(name)
        cells += [spread(values, score), score.number(min(values))] if values else ["-", "-"]
    ill = sum(run.get("health") not in ("ok", None) for run in group.runs)
    return "| " + " | ".join([*cells, f"{ill} of {len(group.runs)} ill" if ill else "ok"]) + " |"


def spread(values: Sequence[float], score: Quantity) -> str:
    """Mean and its interval.

    >>> spread([90.0, 91.0, 92.0], SCORES["test/acc1"])
    '91.00 +- 2.48'
    """
    return mean_interval(values).text(score.number, score.bounds, "+-")


def measured_on(group: Group) -> list[str]:
    """One line per processor: its name, instruction set and versions, and the commits and days of its runs."""
    places: dict[tuple[str, ...], int] = {}
    for run in group.runs:
        sha = (run["git"]["sha"] or "no commit")[:7] + " with changes" * bool(run["git"]["dirty"])
        place = (run["cost"]["device"], run["cost"].get("instruction_set", ""), run["versions"]["torch"], sha)
        places[place] = places.get(place, 0) + 1
    return [
        f"{n} runs on {device} ({isa}), torch {torch}, commit {sha}." for (device, isa, torch, sha), n in places.items()
    ]
