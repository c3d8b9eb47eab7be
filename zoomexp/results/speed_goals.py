"""How large the benchmarks' figures are to be, and how large they are on each machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from zoomexp.errors import InputError
from zoomexp.results.benchmarks import machine, number

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Goal:
    """One figure and how large it is to be.

    Attributes:
        text: what is measured, in words.
        command: the words that the benchmark's command has, its name first.
        row: pattern of the row's name.
        figure: the name of the figure in it.
        table: text that the row's table has in its title; "" for any.
        where: what the row has in other columns.
        over: pattern of another row, whose figure this one is divided by; "" for none.
        unit: of the figure.
        at_least, at_most: the goal; None where there is none.
        limit: what keeps it where it is, or the ideal.
        device: "cpu" or "gpu".
    """

    text: str
    command: str
    row: str
    figure: str
    table: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    over: str = ""
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    limit: str = ""
    device: str = "cpu"

    def wanted(self) -> str:
        """The goal as the page shows it."""
        ends = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {end:,g} {self.unit}".strip() for word, end in ends if end is not None)

    def met(self, value: float) -> bool:
        """Whether a value is what it is to be."""
        return not (
            (self.at_least is not None and value < self.at_least) or (self.at_most is not None and value > self.at_most)
        )


def read_goals(path: Path) -> list[Goal]:
    """The goals of a file.

    Raises:
        InputError: where an entry has other fields than a goal.
    """
    known, found = [one.name for one in fields(Goal)], []
    for i, entry in enumerate(yaml.safe_load(path.read_text())):
        if unknown := set(entry) - set(known):
            raise InputError(f"{path}, goal {i}: unknown {', '.join(sorted(unknown))}; allowed: {', '.join(known)}")
        found.append(Goal(**entry))
    return found


def goal_table(goals: Sequence[Goal], files: Sequence[Mapping[str, Any]]) -> str:
    """A line for each goal, a column for each machine."""
    machines = list(dict.fromkeys(machine(stored) for stored in files))
    columns = machines or ["no such machine yet"]
    lines = [f"| | goal | {' | '.join(columns)} | what limits | benchmark |", "|" + "---|" * (len(columns) + 4)]
    for goal in goals:
        cells = [goal_cell(goal, [stored for stored in files if machine(stored) == one]) for one in columns]
        lines.append(f"| {goal.text} | {goal.wanted()} | {' | '.join(cells)} | {goal.limit} | `{goal.command}` |")
    return "\n".join(lines)


def goal_cell(goal: Goal, files: Sequence[Mapping[str, Any]]) -> str:
    """The figure of one machine, and whether the goal is met."""
    words = goal.command.split()
    for stored in files:
        if stored["command"][2] != words[0] or not set(words[1:]) <= set(stored["command"]):
            continue
        row = _row(goal, goal.row, stored["rows"])
        under = _row(goal, goal.over, stored["rows"]) if goal.over else {goal.figure: 1}
        if row and under and goal.figure in row:
            return _cell(goal, row[goal.figure] / under[goal.figure], row)
    return NOT_MEASURED


def _cell(goal: Goal, value: float, row: Mapping[str, Any]) -> str:
    spread = f" ({number(row['least'])} to {number(row['most'])})" if _spreads(goal, row) else ""
    verdict = f", {'met' if goal.met(value) else 'not met'}" if goal.wanted() else ""
    return f"{number(value)} {goal.unit}".strip() + spread + verdict


def _row(goal: Goal, pattern: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first row whose name fits, of a table whose title has a text, with what other columns are to have."""
    found = (row for row in rows if fnmatchcase(row["name"], pattern) and goal.table in row.get("table", ""))
    return next((row for row in found if all(row.get(key) == value for key, value in goal.where.items())), None)


def _spreads(goal: Goal, row: Mapping[str, Any]) -> bool:
    """Whether `least` and `most` of the row are those of the figure: of a ratio, or of a row without one."""
    return not goal.over and "least" in row and (goal.figure == "ratio" or "ratio" not in row)
