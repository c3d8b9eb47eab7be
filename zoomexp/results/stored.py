"""Reads what a run left in its folder: the one reader of `metrics.json` and `config.yaml`."""

import json
from pathlib import Path
from typing import Any

import yaml

from zoomexp.errors import InputError

FIELDS = {"status": str, "choices": dict, "metrics": dict, "cost": dict, "seed": int, "git": dict}
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML was built with it


class RecordError(ValueError):
    """A folder holds no record that can be read; the message is one line that names the file and what is wrong."""


def read_facts(folder: Path) -> dict[str, Any]:
    """What the `metrics.json` of a run says.

    Raises:
        RecordError: There is none, or it is damaged or lacks one of FIELDS.
    """
    facts = _mapping(folder / "metrics.json", json.loads)
    if wrong := [name for name, kind in FIELDS.items() if not isinstance(facts.get(name), kind)]:
        raise RecordError(f"metrics.json: {', '.join(wrong)} missing or of another kind")
    return facts


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.yaml` of a run, as it was written.

    Raises:
        RecordError: There is none, or it is damaged.
    """
    return _mapping(folder / "config.yaml", lambda text: yaml.load(text, LOADER))  # a safe loader


def facts_if_finished(folder: Path) -> dict[str, Any] | None:
    """What the `metrics.json` of a finished run says; None of another run, or where nothing can be read."""
    try:
        facts = read_facts(folder)
    except RecordError:
        return None
    return facts if facts["status"] == "finished" else None


def finished_facts(folder: str | Path, field: str) -> dict[str, Any]:
    """What the `metrics.json` of a finished run says.

    Raises:
        InputError: If there is none; `field` names the option that asked for it.
    """
    try:
        facts = read_facts(Path(folder))
    except RecordError as error:
        raise InputError(f"{field}={folder}: no run folder with a readable metrics.json; name one of a run") from error
    if facts["status"] != "finished":
        raise InputError(f"{field}={folder}: the run is not finished ({facts['status']})")
    return facts


def _mapping(path: Path, parse: Any) -> dict[str, Any]:
    try:
        content = parse(path.read_text())
    except FileNotFoundError as error:
        raise RecordError(f"no {path.name}") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise RecordError(f"{path.name}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path.name} holds no mapping")
    return content
