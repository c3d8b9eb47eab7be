"""What `scripts/benchmark.py` has left in its JSON files, as Markdown."""

import json
from pathlib import Path
from typing import Any

COLUMNS = {"GMACs": "GMACs", "macs": "share of MACs", "ratio": "times as fast", "of_ideal": "of the ideal"}


def tokens_speed(folder: Path) -> str:
    """The newest figures of `scripts/benchmark.py tokens` in `folder`; empty where there are none."""
    files = sorted(folder.glob("tokens-*.json"))
    if not files:
        return ""
    stored = json.loads(files[-1].read_text())
    parts = ["## Speed of token reduction", f"`{' '.join(stored['command'])}`, {stored['date'][:10]}"]
    for title in dict.fromkeys(row["table"] for row in stored["rows"]):
        rows = [row for row in stored["rows"] if row["table"] == title]
        parts.append(f"{title}:\n\n" + "\n".join(_table(rows)))
    return "\n\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"| method | {' | '.join(COLUMNS.values())} |", "|---|" + "---:|" * len(COLUMNS)]
    return lines + [f"| {row['name']} | {' | '.join(f'{row[key]:.2f}' for key in COLUMNS)} |" for row in rows]
