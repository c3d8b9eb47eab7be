"""Whether the run that a network is from told the same classes apart as the data: by their names, in their order."""

import json
from collections.abc import Sequence
from pathlib import Path

from zoomexp.errors import InputError
from zoomexp.weights.starting import say


def classes_of(folder: str | Path) -> list[str]:
    """The names of the classes in a run's record; none where there is no record, or none in it."""
    try:
        return list(json.loads((Path(folder) / "metrics.json").read_text()).get("classes") or [])
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def run_of(checkpoint: object) -> Path | None:
    """The run folder that a checkpoint is in; None for none."""
    return Path(checkpoint).parent.parent if isinstance(checkpoint, str | Path) else None


def others(known: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether as many classes have other names, or another order.

    >>> others(["gull", "tern"], ["ape", "bee"]), others(["gull", "tern"], ["ape"]), others([], [])
    (True, False, False)
    """
    return len(known) == len(classes) and list(known) != list(classes)


def check_tested(field: str, known: Sequence[str], classes: Sequence[str]) -> None:
    """Before a test without training: refuse data none of whose classes is the run's, and say which are not.

    A logit has the meaning of its place, so a name at another place is another class. Nothing is compared where nobody
    knows the names, or where the numbers differ.

    Args:
        field: The option that names the weights, with its value.
        known: The classes of the run that they are from.
        classes: Those of the data.

    Raises:
        InputError: no class has its name at its place.
    """
    if not others(known, classes):
        return
    differing = [(new, old) for new, old in zip(classes, known, strict=True) if new != old]
    example = "{} in the place of {}".format(*differing[0])
    if len(differing) == len(classes):
        raise InputError(
            f"{field}: tested without training on other classes than its run's, {example}; "
            "name the classes as there, or choose evaluate=best to train a new last layer"
        )
    say(f"{field}: {len(differing)} of {len(classes)} classes are others than its run's, {example}; tested as they are")
