"""What a benchmark found, as a file beside the run records: without one a number does not exist."""

import importlib.metadata
import json
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

from zoomexp.atomic_file import write_text
from zoomexp.cli.benchmarks.machine import pick_device, where
from zoomexp.errors import InputError
from zoomexp.results.provenance import PACKAGES, git_state
from zoomexp.run.cost import instruction_set


def write(rows: list[dict[str, Any]], arguments: list[str], malloc: str, output_dir: str) -> Path:
    """Write the rows, and what they were measured with, to `<output_dir>/benchmarks/<name>-<date>.json`.

    Args:
        rows: figures by name, one line of the table each.
        arguments: of scripts/benchmark.py, the benchmark's name first.
        malloc: how memory was allocated.
        output_dir: root of all outputs.

    Raises:
        InputError: if it cannot be written.
    """
    now = datetime.now().astimezone()
    facts = {
        "command": ["python", "scripts/benchmark.py", *arguments],
        "date": now.isoformat(timespec="seconds"),
        "device": where(pick_device()),
        "instruction_set": instruction_set(),
        "malloc": malloc,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "git": git_state(),
        "rows": rows,
    }
    path = Path(output_dir) / "benchmarks" / f"{arguments[0]}-{now:%Y-%m-%d_%H-%M-%S}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(facts, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"output_dir: cannot write {path} ({error.strerror}); name a writable one") from error
    return path
