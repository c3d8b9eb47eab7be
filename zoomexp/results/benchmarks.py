"""The files that `scripts/benchmark.py` left: published, named and shown."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoomexp.atomic_file import write_text


def publish(outputs: Path, records: Path) -> list[Path]:
    """Copy the newest file of each command and machine in `outputs` to `records`; returns the copies.

    Folders of data in the commands are written as DIR: where they lie is nobody's matter.
    """
    newest = {}
    for path in sorted(outputs.glob("*.json"), key=lambda path: path.stem[-19:]):  # by the date in their names
        stored = json.loads(path.read_text())
        stored["command"] = [_without_folder(word) for word in stored["command"] if not word.startswith("output_dir=")]
        name = stored["command"][2]
        code = hashlib.sha256(json.dumps([stored["command"], machine(stored)]).encode()).hexdigest()[:8]
        newest[f"{name}-{code}.json"] = stored
    records.mkdir(parents=True, exist_ok=True)
    for name, stored in newest.items():
        write_text(records / name, json.dumps(stored, indent=1) + "\n")
    return [records / name for name in newest]


def _without_folder(word: str) -> str:
    return "data_dir=DIR" if word.startswith("data_dir=") else word


def machine(stored: Mapping[str, Any]) -> str:
    """What a file was measured on: the processor and its instruction set, or the GPU."""
    device, comma, _ = str(stored["device"]).partition(", one thread")
    return f"{device} ({stored['instruction_set']})" if comma and stored.get("instruction_set") else device


def number(value: Any) -> str:
    """A figure in at most three digits after the point, thousands parted.

    >>> [number(value) for value in (12345, 0.98765, 0.0123, 1234.5, None, [197, 98.5], "fp32", 350.0)]
    ['12,345', '0.988', '0.012', '1,234', '-', '197 98.5', 'fp32', '350']
    """
    if isinstance(value, list):
        return " ".join(number(one) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else str(value)
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
