"""Runs that differ in their seed alone, and how to tell such groups apart in a few words."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from zoomexp.results.derived import value_of
from zoomexp.results.filling import RunResult
from zoomexp.results.identity import HOST, NOT_SCIENCE, chosen_name, completed
from zoomexp.results.recorded_quantities import main_of
from zoomexp.results.report.runs import RecordedRun
from zoomexp.results.statistics import Interval, mean_interval

Flat = Mapping[str, Any]  # dotted path -> number, text, truth value or None
RUN_FOLDER = re.compile(r"(?:.*/)?runs/([^/]+/[^/]+/seed\d+-[0-9a-f]{8})")
SHOWN = 4  # differing values named before "and more"


@dataclass(frozen=True, eq=False)
class SeedGroup:
    """Finished runs of one config; `config` is flat and without seeds."""

    config: Flat
    runs: tuple[RecordedRun, ...]

    @property
    def choices(self) -> Mapping[str, Any]:
        """The config groups' choices."""
        return self.runs[0].facts["choices"]

    @property
    def name(self) -> str:
        """Backbone, module and place."""
        backbone, attention, insertion = (chosen_name(group, self.runs[0].config, self.choices) for group in HOST)
        if attention == "none":
            return backbone
        return f"{backbone} + {attention}" + (f" at {insertion}" if insertion != "default" else "")

    @property
    def main(self) -> str:
        """Full name of the runs' main quantity, in the test."""
        return f"test/{main_of(self.runs[0].facts)}"

    def interval(self, key: str) -> Interval | None:
        """Mean and 95 % interval of a quantity over the seeds; None unless every run holds a finite value."""
        results = [cast(RunResult, run.result) for run in self.runs]
        held = [value_of(key, result.metrics, result.cost) for result in results]
        values = [value for value in held if value is not None and math.isfinite(value)]
        return mean_interval(values) if len(values) == len(held) else None

    def measured(self, key: str) -> Interval:
        """The interval of a quantity of which every run is known to hold a value."""
        return cast(Interval, self.interval(key))


def seed_groups(runs: Sequence[RecordedRun]) -> list[SeedGroup]:
    """The finished runs, put together over seeds; the order of the first runs is kept."""
    known = {run.path: run for run in runs}
    found: dict[str, list[RecordedRun]] = {}
    configs: dict[str, Flat] = {}
    for run in runs:
        if run.result is not None:
            config = science(run.config, known)
            identity = json.dumps(config, sort_keys=True)
            configs[identity] = config
            found.setdefault(identity, []).append(run)
    return [SeedGroup(configs[identity], tuple(members)) for identity, members in found.items()]


def science(config: Mapping[str, Any], known: Mapping[str, RecordedRun]) -> Flat:
    """The flat config without seeds and without what does not decide the numbers.

    A value that is the folder of a known run (a teacher) is replaced by that run's own config, so that students of
    teachers that differ in their seed alone stay together.
    """
    chosen = {group: node for group, node in config.items() if node is not None}  # as in the folder's hash
    return {
        path: _without_seed(value, known) for path, value in flatten(completed(chosen)).items() if not _ignored(path)
    }


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted paths to the leaves; a list is a leaf, as JSON.

    >>> flatten({"a": {"b": 1, "c": [2, 3]}})
    {'a.b': 1, 'a.c': '[2, 3]'}
    """
    found: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            plain = value is None or isinstance(value, bool | int | float | str)
            found[f"{prefix}{key}"] = value if plain else json.dumps(value, default=str)
    return found


@lru_cache(maxsize=10_000)  # a thousand runs have the same few hundred options
def _ignored(path: str) -> bool:
    return path.rpartition(".")[2] == "seed" or any(path == p or path.startswith(f"{p}.") for p in NOT_SCIENCE)


def _without_seed(value: Any, known: Mapping[str, RecordedRun]) -> Any:
    match = RUN_FOLDER.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] not in known:
        return value
    return f"{match[1].rpartition('/')[0]} {json.dumps(science(known[match[1]].config, known), sort_keys=True)}"


def distinguish(configs: Sequence[Flat]) -> list[str]:
    """For each config, the values in which the configs differ; all empty if there is one config.

    >>> distinguish([{"optimizer.lr": 0.1, "evaluate": "best"}, {"optimizer.lr": 0.2, "evaluate": "best"}])
    ['lr=0.1', 'lr=0.2']
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    varying = [key for key in keys if len({json.dumps(config.get(key)) for config in configs}) > 1]
    varying = [key for key in varying if not key.endswith("_target_")] or varying
    return [_differences(config, [key for key in varying if key in config]) for config in configs]


def _differences(config: Flat, keys: Sequence[str]) -> str:
    texts = [f"{key.rpartition('.')[2]}={shown(config[key])}" for key in keys]
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def shown(value: Any) -> str:
    """A config value as a short text: what YAML would hold."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"
