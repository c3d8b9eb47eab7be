"""docs/speed.md: what benchmarks measured, made from the files in docs/records/benchmarks and never by hand.

A file is what one call of `scripts/benchmark.py` left: its command, device, date, commit and rows of figures by name.
`goals.yaml` beside the files says which figure of which benchmark is to be how large.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoomexp.results.benchmarks import machine, number
from zoomexp.results.speed_goals import goal_table, read_goals

GOALS = "goals.yaml"
CPU_TIME = "one thread, CPU time"  # how a CPU's device ends, see cli/benchmarks/machine.py
INTRODUCTION = """# Speed, measured

Made by `python scripts/benchmark.py --document` from the files in docs/records/benchmarks, which benchmarks left;
[how they measure](performance.md). On a CPU one thread runs and its CPU time is read; what is compared takes turns,
and a ratio is the median over rounds, with the least and the most of them. "Of the ideal" is the speed-up times the
share of multiply-accumulates (MACs): 1 if all of the saved work is saved time."""


def page(records: Path) -> str:
    """The whole page, from the files below `records`."""
    files = [json.loads(path.read_text()) for path in sorted(records.glob("*.json"))]
    files.sort(key=lambda stored: (stored["command"], machine(stored)))
    goals = read_goals(records / GOALS)
    on_gpu = [not stored["device"].endswith(CPU_TIME) for stored in files]
    parts = [INTRODUCTION]
    for title, device in (("Goals on a CPU", "cpu"), ("Goals on a GPU", "gpu")):
        those = [stored for stored, gpu in zip(files, on_gpu, strict=True) if gpu is (device == "gpu")]
        parts += [f"## {title}", goal_table([goal for goal in goals if goal.device == device], those)]
    return "\n\n".join([*parts, "## All figures", *(_section(stored) for stored in files)]) + "\n"


def _section(stored: Mapping[str, Any]) -> str:
    """One file: its command, machine, date, commit and tables."""
    commit = f"{stored['git']['sha'][:7]}{'+' * bool(stored['git'].get('dirty'))}" if stored["git"].get("sha") else "-"
    torch = stored["versions"].get("torch")
    parts = [
        f"### {stored['command'][2]}: {machine(stored)}",
        f"`{' '.join(stored['command'])}`, {stored['date'][:10]}, torch {torch}, commit {commit}.",
    ]
    for title in dict.fromkeys(row.get("table", "") for row in stored["rows"]):
        rows = [row for row in stored["rows"] if row.get("table", "") == title]
        parts += [*([f"{title}:"] if title else []), _table(rows)]
    return "\n\n".join(parts)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in ("table", "name")]
    lines = [f"| | {' | '.join(name.replace('_', ' ') for name in columns)} |", "|---|" + "---:|" * len(columns)]
    return "\n".join(
        lines + [f"| {row['name']} | {' | '.join(number(row.get(name)) for name in columns)} |" for row in rows]
    )
