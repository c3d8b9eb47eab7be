"""W&B sweep files from the sweeps of `configs/sweep`, and what these go through."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer, ValueType
from hydra.utils import get_class

from zoomexp.cli.config_files import CONFIGS
from zoomexp.errors import InputError
from zoomexp.metrics.quantity import BEST
from zoomexp.run.sweep_agent import CHOICES, FLAG

GOALS = {"max": "maximize", "min": "minimize"}


def sweep_file(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A W&B sweep that goes through the same grid as Hydra does, named as in the runs' W&B configs.

    Args:
        path: A file of `configs/sweep`.
        overrides: Further ones, as one would type them after it; they win.
    """
    found = grid(path, ("logger.mode=online", *overrides))  # an offline run is no part of a sweep
    task = check(found)
    return {
        "name": path.stem,
        "program": "train.py",
        "method": "grid",
        "metric": {"name": f"val/{task.main.key}{BEST}", "goal": GOALS[task.main.mode]},
        "parameters": nested(found),
        "command": ["${env}", "${interpreter}", "${program}", FLAG],
    }


def grid(path: Path, overrides: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The values that a sweep gives each option and group, by the key that is typed."""
    typed = parsed([*(f"{key}={value}" for key, value in sweep_params(path).items()), *overrides])
    return {override.get_key_element(): values(override) for override in typed}


def nested(found: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The values as W&B's parameters, each where it stands in a run's W&B config.

    >>> nested({"attention": ["loupe"], "loss.sparsity": [0, 1]})["choices"]
    {'parameters': {'attention': {'value': 'loupe'}}}
    """
    tree: dict[str, Any] = {}
    for key, given in found.items():
        *above, last = place(key)
        level = tree
        for part in above:
            level = level.setdefault(part, {"parameters": {}})["parameters"]
        level[last] = {"values": list(given)} if len(given) > 1 else {"value": given[0]}
    return tree


def place(key: str) -> list[str]:
    """Where a run's W&B config has what is typed under a key: a group's choice is one of its choices.

    >>> place("attention"), place("attention.threshold")
    (['choices', 'attention'], ['attention', 'threshold'])
    """
    return [CHOICES, key] if (CONFIGS / key).is_dir() else key.split(".")


def axes(path: Path) -> list[str]:
    """What a sweep goes through beside seeds, as it is called in a run's W&B config."""
    return [".".join(place(key)) for key, given in grid(path).items() if len(given) > 1 and key != "seed"]


def check(found: Mapping[str, Sequence[Any]]) -> Any:
    """Compose jobs until every value has had its turn, so that a mistake shows before the sweep.

    Returns:
        The class of the last job's task, whose main quantity the sweep is about.

    Raises:
        HydraException: If one does not compose.
    """
    for turn in range(max(map(len, found.values()))):
        cfg = compose("train", [f"{key}={given[turn % len(given)]}" for key, given in found.items()])
    return get_class(cfg.task._target_)


def sweep_params(path: Path) -> dict[str, Any]:
    """`hydra.sweeper.params` of a sweep file, which must be all that it sets."""
    try:
        content = yaml.safe_load(path.read_text())
        params = content["hydra"]["sweeper"]["params"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no sweep file with hydra.sweeper.params; name one of configs/sweep") from error
    if more := set(content) - {"hydra"}:
        raise InputError(f"{path}: sets {', '.join(sorted(more))} beside hydra.sweeper.params; W&B would not see it")
    return params


def parsed(overrides: Sequence[str]) -> list[Override]:
    """The overrides as Hydra reads them."""
    return OverridesParser.create().parse_overrides(list(overrides))


def values(override: Override) -> list[Any]:
    """What an override goes through: numbers as they are, all else as a text that Hydra reads as the same again."""
    if override.is_delete() or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        raise InputError(f"{override.input_line}: a W&B sweep needs values; write key=value or key=value,value")
    if not override.is_sweep_override():
        return [_value(override.value(), override.get_value_element_as_str())]
    texts = override.sweep_iterator(transformer=Transformer.encode)
    return [_value(value, cast(str, text)) for value, text in zip(override.sweep_iterator(), texts, strict=True)]


def _value(value: Any, text: str) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(text)
