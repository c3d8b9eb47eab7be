"""What a command line chooses, as far as its words and its experiment's file tell it: composing it takes far longer."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

import yaml

from zoomexp.results.identity import TIMM
from zoomexp.run.overrides import key_of

GROUPS = ("dataset", "backbone", "attention")  # those that a run's path is made of
OVERRIDES = re.compile(r"override /(\w+)")


def choices_told(overrides: Sequence[str], configs: Path) -> dict[str, str]:
    """The choices of GROUPS that are certain: what is typed, or else what the experiment's file says.

    Args:
        overrides: of `train.py`.
        configs: the folder of the config groups.

    >>> choices_told(["experiment=nowhere", "dataset=digits", "backbone=resnet20", "dataset=mnist"], Path("configs"))
    {'dataset': 'mnist', 'backbone': 'resnet20'}
    >>> choices_told(["attention=parallel", "attention@attention.branches.first=none"], Path("configs"))
    {'attention': 'parallel'}
    """
    of_the_root = [word for word in overrides if "@" not in word.partition("=")[0]]
    typed = {key_of(word): word.partition("=")[2] for word in of_the_root}
    found = _of_experiment(typed["experiment"], configs) if "experiment" in typed else {}
    found = found | typed
    return {group: found[group] for group in GROUPS if re.fullmatch(r"\w+", found.get(group) or "")}


def may_be_among(overrides: Sequence[str], configs: Path, folders: Iterable[str]) -> bool:
    """Whether a run of these overrides may be one of the run folders.

    Args:
        overrides: of `train.py`.
        configs: the folder of the config groups.
        folders: `<dataset>/<backbone>-<attention>-<insertion>`, of those that there are.
    """
    told = choices_told(overrides, configs)
    dataset, backbone, attention = (told.get(group, "*") for group in GROUPS)
    backbone, attention = ("*" if choice == TIMM else choice for choice in (backbone, attention))  # timm's own names
    path = re.compile(translate(f"{dataset}/{backbone}-{attention}-*"))
    return any(path.match(folder) for folder in folders)


@lru_cache
def _of_experiment(name: str, configs: Path) -> dict[str, str]:
    """What an experiment's file and those it builds on choose; nothing of what cannot be read."""
    try:
        entries = yaml.safe_load((configs / "experiment" / f"{name}.yaml").read_text())["defaults"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}
    found: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, str) and entry.startswith("/experiment/"):
            found |= _of_experiment(entry.removeprefix("/experiment/"), configs)
        elif isinstance(entry, dict):
            for key, choice in entry.items():
                if match := OVERRIDES.fullmatch(key):
                    found[match[1]] = str(choice)
    return found
