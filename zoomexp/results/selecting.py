"""Chooses runs by conditions, such as `dataset=cifar10` and `test/acc1>90`."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from zoomexp.errors import InputError
from zoomexp.near import did_you_mean
from zoomexp.results.report.groups import flatten
from zoomexp.results.report.runs import RecordedRun

ORDERS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
CONDITION = re.compile(r"(?P<name>[^=<>!]+)(?P<sign>>=|<=|!=|>|<|=)(?P<value>.*)", re.S)


@dataclass(frozen=True)
class Condition:
    """What a run must fulfil: `sign` is one of =, !=, >, <, >=, <=."""

    name: str
    sign: str
    value: str

    def fits(self, facts: Mapping[str, Any]) -> bool:
        """Whether a run with these facts fulfils it; one that lacks the name fulfils only `!=`.

        Of `=` and `!=` the value is a list of patterns; numbers are compared as numbers.

        >>> [Condition("seed", "=", "0,1").fits({"seed": 1}), Condition("test/acc1", ">", "90").fits({"test/acc1": 9})]
        [True, False]
        """
        held: Any = facts.get(self.name)
        if self.sign in ORDERS:
            return _is_number(held) and ORDERS[self.sign](held, float(self.value))
        return (self.sign == "=") is any(_alike(held, wanted.strip()) for wanted in self.value.split(","))


def parse(words: Sequence[str]) -> list[Condition]:
    """Conditions as they are typed.

    Raises:
        InputError: For a word that is none, or an order of what is no number.
    """
    found = []
    for word in words:
        match = CONDITION.fullmatch(word)
        if match is None:
            raise InputError(f"{word}: no condition; allowed: NAME=VALUE, NAME!=VALUE, NAME>NUMBER, <, >= and <=")
        condition = Condition(*(text.strip() for text in match.group("name", "sign", "value")))
        if condition.sign in ORDERS and not _reads_as_number(condition.value):
            raise InputError(f"{word}: {condition.sign} needs a number, got {condition.value!r}")
        found.append(condition)
    return found


def select(runs: Iterable[RecordedRun], conditions: Sequence[Condition]) -> list[RecordedRun]:
    """The runs that fulfil every condition, in their order.

    Raises:
        InputError: If no run at all has a name.
    """
    every = [(run, facts_of(run)) for run in runs]
    known = dict.fromkeys(name for _, facts in every for name in facts)
    for condition in conditions:
        if every and condition.name not in known:
            raise InputError(f"{condition.name}: no run has this{did_you_mean(condition.name, known)}")
    return [run for run, facts in every if all(condition.fits(facts) for condition in conditions)]


def facts_of(run: RecordedRun) -> dict[str, Any]:
    """Everything of a run that can be asked for, by name.

    Its path (`run`), `status`, `seed`, the groups' choices, the config's options, the metrics and `cost/...`.
    """
    facts = run.facts
    costs = {f"cost/{name}": value for name, value in facts["cost"].items()}
    first = {"run": run.path, "status": run.state, "seed": facts["seed"]}
    choices = {name: value or "none" for name, value in facts["choices"].items()}
    return flatten(run.config) | facts["metrics"] | costs | choices | first


def _alike(held: Any, wanted: str) -> bool:
    if _is_number(held) and _reads_as_number(wanted):
        return held == float(wanted)
    text = {None: "null", True: "true", False: "false"}.get(held, held) if not _is_number(held) else held
    return fnmatchcase(str(text), wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
