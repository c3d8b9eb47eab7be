"""What varied between runs: each option that was typed and differs, and its value in every run."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoomexp.results.identity import NOT_SCIENCE, chosen_name
from zoomexp.results.report.groups import shown
from zoomexp.results.report.runs import RecordedRun

CHOSEN = {"dataset": "Data set", "backbone": "Backbone", "attention": "Module", "insertion": "Place",
          "experiment": "Experiment", "recipe": "Recipe"}  # fmt: skip
OWN_COLUMN = (*CHOSEN, "seed")  # in every list of runs
NO_RESULT = ("sweep", "trainer")  # choices that say how and where runs are made


def chosen(runs: Sequence[RecordedRun]) -> dict[str, list[str]]:
    """Heading -> each run's choice, of the groups of `CHOSEN` that any run has a choice of."""
    columns = {heading: [_choice(run, group) for run in runs] for group, heading in CHOSEN.items()}
    return {heading: choices for heading, choices in columns.items() if any(choices)}


def _choice(run: RecordedRun, group: str) -> str:
    choices = run.facts["choices"]
    return chosen_name(group, run.config, choices) if choices.get(group) else ""


def varied(runs: Sequence[RecordedRun]) -> dict[str, list[str]]:
    """Option -> its value in each run, of the options that somebody typed and that are not the same in all runs.

    An option that was typed for some runs has in the others what it was there all the same; an empty text where a run
    has no such option.
    """
    typed = dict.fromkeys(name for run in runs for name in typed_options(run.facts.get("overrides") or ()))
    columns = {name: [value_in(run, name) for run in runs] for name in typed if not _ignored(name)}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def typed_options(overrides: Sequence[str]) -> list[str]:
    """The names of the options in overrides.

    >>> typed_options(["attention=loupe", "+attention.mask=off", "~callbacks.history"])
    ['attention', 'attention.mask', 'callbacks.history']
    """
    return [override.lstrip("+~").partition("=")[0] for override in overrides]


def value_in(run: RecordedRun, name: str) -> str:
    """The value of an option in a run, as a text: a group's choice, or what stands in the config."""
    choices = run.facts["choices"]
    if name in choices:
        return str(choices[name] or "")
    value = _at(run.config, name)
    return "" if value is None else shown(value)


def _at(config: Mapping[str, Any], name: str) -> Any:
    node: Any = config
    for key in name.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return None if isinstance(node, Mapping) else node


def _ignored(name: str) -> bool:
    parts = name.split(".")
    above = {".".join(parts[: i + 1]) for i in range(len(parts))}
    return parts[-1] == "seed" or name in (*OWN_COLUMN, *NO_RESULT) or bool(above & {*NOT_SCIENCE, "hydra"})
