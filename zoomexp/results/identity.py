"""Which run is which: eight hexadecimal digits over what decides a run's numbers, and the folder named after them.

What counts is the config without its defaults. The default of an option is that of the class or function which the
option's node names by `_target_`: a new option at its default leaves every run where it is, and so does a file that
moves, if MOVED says where to. Where things lie, who watches and how the work is spread (NOT_SCIENCE) never counts, nor
does a run's list of `needs`: what of them is used stands where it is used.

A folder that has another name and a config with the same digits is the run's folder all the same: that of runs made
before 2026-11-28, whose names covered every key of the config.

This is the identity of what was asked for. What it was made from, the data read and the code imported, is a second one
(`zoomexp.results.origin`).
"""

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from zoomexp.results.stored import RecordError, read_config

# Old target -> new target. Applied wherever a stored config is read, and before anything is compared.
MOVED = {
    "zoomexp.composition.restored": "zoomexp.run.stored_run.restored",
    "zoomexp.no_profiler.NoProfiler": "zoomexp.upstream.no_profiler.NoProfiler",
    "pytorch_lightning.callbacks.EarlyStopping": "zoomexp.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.EMAWeightAveraging": "zoomexp.callbacks.averaging.ema",
}
# "target.option" -> the default that it had first. An option whose default changes is entered here: it keeps that one
# as what is left out, so that runs made with the old default are not taken for runs with the new one.
FIRST_DEFAULTS: dict[str, Any] = {}
# Defaults that got another name for the same thing: target -> what stood for them before. The runs are the same.
ONCE: dict[str, dict[str, Any]] = {
    "zoomexp.callbacks.checkpoints.Checkpoints": {"monitor": "val/acc1", "mode": "max"},  # of classifiers: val/main
}
# The root's own options, which no constructor has.
ROOT_DEFAULTS = {"evaluate": "best", "checkpoint": None, "rounding": None}
# What does not decide the numbers: where things lie, who watches, how the work is spread over the hardware.
NOT_SCIENCE = (
    "output_dir", "data_dir", "rerun", "stale", "compile", "needs", "logger", "dataset.data_dir", "dataset.num_workers",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.log_every_n_steps",
    "trainer.enable_progress_bar", "trainer.on_oom", "trainer.graph", "trainer.flush_denormal", "trainer.profiler",
    "callbacks.progress",
    "callbacks.gates", "callbacks.history", "callbacks.pictures", "callbacks.effects", "callbacks.dynamics", "recipe",
    "task.cache", "callbacks.probe_first.cache",
)  # fmt: skip
HYDRA_KEYS = ("_partial_", "_convert_", "_recursive_")  # how a target is called
TIMM, HOST = "timm", ("backbone", "attention", "insertion")
RUN_FOLDER = re.compile(r"(runs/[^/]+/[^/]+/seed\d+-)[0-9a-f]{8}(?=/|$)")


def run_path(config: Mapping[str, Any], choices: Mapping[str, str]) -> Path:
    """`<dataset>/<backbone>-<attention>-<insertion>/seed<n>-<hash>`."""
    host = "-".join(chosen_name(group, config, choices) for group in HOST)
    return Path(str(choices["dataset"])) / host / f"seed{config['seed']}-{config_hash(config)}"


def chosen_name(group: str, config: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """What a group's part is called in folders and labels: its choice, or, of what timm has, timm's name.

    >>> chosen_name("backbone", {"backbone": {"name": "hf-hub:timm/vit_tiny_patch16_224"}}, {"backbone": "timm"})
    'hf-hub_timm_vit_tiny_patch16_224'
    """
    choice = str(choices.get(group) or "none")
    name = (config.get(group) or {}).get("name") if choice == TIMM else None
    return re.sub(r"[^\w.-]+", "_", str(name)) if name else choice


def run_folder(outputs: Path, path: Path) -> Path:
    """Where the run of this `run_path` lies, or will lie: below `outputs`/runs.

    A finished run under an old name comes before an unfinished one. Until 2026-11-28 all of timm's models were `timm`.
    """
    folder = outputs / "runs" / path
    if folder.exists():
        return folder
    begin, _, wanted = path.name.rpartition("-")
    once = folder.parent.with_name("-".join([TIMM, *folder.parent.name.rsplit("-", 2)[1:]]))
    places = sorted({folder.parent, once})
    others = [other for place in places for other in sorted(place.glob(f"{begin}-*")) if hash_of(other) == wanted]
    return max(others, key=lambda other: (other / "predictions.npz").exists(), default=folder)


def config_hash(config: Mapping[str, Any], outputs: Path | None = None) -> str:
    """Eight hexadecimal digits that name the scientific part of a resolved config.

    Args:
        config: Plain containers.
        outputs: Where its `output_dir` lies; as the config says unless given.

    >>> config_hash({"seed": 0, "data_dir": "here"}) == config_hash({"seed": 0, "data_dir": "there"})
    True
    >>> config_hash({"w": "a/b/w.pth", "data_dir": "a/b"}) == config_hash({"w": "data/w.pth", "data_dir": "data"})
    True
    >>> config_hash({"seed": 0, "tokens": {}}) == config_hash({"seed": 0})
    True
    >>> config_hash({"seed": 0}) == config_hash({"seed": 1})
    False
    """
    return hashlib.sha256(json.dumps(science(config, outputs), sort_keys=True).encode()).hexdigest()[:8]


def hash_of(folder: Path) -> str | None:
    """The hash of the config in a run folder, whatever the folder is called; None where no config can be read."""
    try:
        return _hash_of(folder, (folder / "config.yaml").stat().st_mtime_ns)
    except (OSError, RecordError):
        return None


@lru_cache(maxsize=10_000)
def _hash_of(folder: Path, written: int) -> str:
    return config_hash(renamed(read_config(folder)), folder.parents[3])


def science(config: Mapping[str, Any], outputs: Path | None = None) -> dict[str, Any]:
    """The part of a resolved config that decides the numbers, in one form for all configs that mean the same."""
    root = config.get("output_dir")
    node = _named_files(json.loads(json.dumps(config, default=str)), config.get("data_dir"))
    node = _named_runs(node, root, outputs or Path(root or "."))
    for dotted in NOT_SCIENCE:
        *parents, key = dotted.split(".")
        parent = node
        for name in parents:
            parent = parent.get(name) or {}
        parent.pop(key, None)
    node = {key: value for key, value in node.items() if _text(value) != _text(ROOT_DEFAULTS.get(key))}
    node = {key: _without_defaults(_without_nothing(value)) for key, value in node.items()}
    return {key: value for key, value in node.items() if value != {}}


def renamed(node: Any) -> Any:
    """A config, or a part of one, with the targets that have moved under their new names."""
    if isinstance(node, Mapping):
        node = {key: new_name(value) if key == "_target_" else renamed(value) for key, value in node.items()}
        return without_old_names(node) if isinstance(node.get("_target_"), str) else node
    return [renamed(value) for value in node] if isinstance(node, list) else node


def completed(node: Any) -> Any:
    """A config, or a part of one, in which every option stands, those that were left out at their defaults."""
    if isinstance(node, Mapping):
        left_out = defaults_of(node["_target_"]) if isinstance(node.get("_target_"), str) else {}
        return {key: completed(value) for key, value in {**left_out, **node}.items()}
    return [completed(value) for value in node] if isinstance(node, list) else node


def new_name(target: str) -> str:
    """Where a target is now."""
    while target in MOVED:
        target = MOVED[target]
    return target


def _named_files(node: Any, root: str | None) -> Any:
    """`node` with the paths of what lies in the data folder `root` (weights, a table of images) as in any other's."""
    if isinstance(node, dict):
        return {key: _named_files(value, root) for key, value in node.items()}
    if isinstance(node, list):
        return [_named_files(value, root) for value in node]
    inside = isinstance(node, str) and root and node.startswith(f"{root}/")
    return f"data{node.removeprefix(root)}" if inside else node


def _named_runs(node: Any, root: str | None, outputs: Path) -> Any:
    """`node` with paths made relative to the output folder `root`, and run folders there called by their hash."""
    if isinstance(node, dict):
        return {key: _named_runs(value, root, outputs) for key, value in node.items()}
    if isinstance(node, list):
        return [_named_runs(value, root, outputs) for value in node]
    if not isinstance(node, str) or not root:
        return node
    node = node.removeprefix(f"{root}/")
    match = RUN_FOLDER.match(node)
    known = hash_of(outputs / match[0]) if match else None
    return f"{match[1]}{known}{node[match.end() :]}" if match and known else node


def _without_nothing(group: Any) -> Any:
    """A group that calls nothing (insertion, callbacks), without what is null in it."""
    if not isinstance(group, dict) or "_target_" in group:
        return group
    return {key: value for key, value in group.items() if value is not None}


def _without_defaults(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_defaults(value) for value in node]
    if not isinstance(node, dict):
        return node
    node = {key: _without_defaults(value) for key, value in node.items() if key not in HYDRA_KEYS}
    if not isinstance(node.get("_target_"), str):
        return node
    node["_target_"] = target = new_name(node["_target_"])
    node, now = without_old_names(node), defaults_of(target)
    first = {key: FIRST_DEFAULTS.get(f"{target}.{key}", value) for key, value in now.items()}
    changed = {key: value for key, value in now.items() if _text(value) != _text(first[key])}
    return {
        key: value for key, value in (changed | node).items() if key not in first or _text(value) != _text(first[key])
    }


def without_old_names(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node without what says its defaults as they were said before (ONCE), if it says all of it."""
    once = ONCE.get(node.get("_target_", ""), {})
    return {key: value for key, value in node.items() if not (once.items() <= node.items() and key in once)}


@lru_cache
def defaults_of(target: str) -> dict[str, Any]:
    """The defaults of a class's or function's arguments; none if it cannot be imported, as building it will say.

    A class that hands on `**options` has its parent's defaults too.
    """
    try:
        found = get_object(target)
        defaults: dict[str, Any] = {}
        for kind in found.__mro__[:-1] if isinstance(found, type) else (found,):
            parameters = inspect.signature(kind).parameters.values()
            defaults = {p.name: p.default for p in parameters if p.default is not p.empty} | defaults
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
        return defaults
    except Exception:  # whatever a user's module raises
        return {}


def _text(value: Any) -> str:
    """A value as it is compared: 1, 1.0 and true are three values, a tuple and a list are one."""
    return json.dumps(value, sort_keys=True, default=str)
