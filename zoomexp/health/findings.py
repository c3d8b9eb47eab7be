"""What the monitor found wrong with a run, and in which words everything that shows the run says so."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

OK = "ok"
NOT_LEARNED, CUT_OFF, IDLE = "not learned", "module shut", "module idle"
WORST_FIRST = (NOT_LEARNED, CUT_OFF, IDLE)

# Kind -> what it says.
WORDS = {
    "shut": "the mask of {module} at {site} is shut (mean {value:.2g} %)",
    "chance": "the accuracy stays at chance ({value:.2f} %)",
    "flat_loss": "the loss stays at that of a guess ({value:.3f})",
    "constant": "the network's output no longer depends on the image (relative spread {value:.1g})",
    "bypassed": "the mask of {module} at {site} is shut (mean {value:.2g} %), and the input goes around it",
    "open": "the mask of {module} at {site} is wide open (mean {value:.4g} %) and changes nothing",
    "zero_gate": "the gate of {module} at {site} is at zero (gamma {value:.1g})",
    "identity": "{module} at {site} changes its input by {value:.1g}: it is an identity",
}
MARKS = {
    **dict.fromkeys(("chance", "flat_loss", "constant"), NOT_LEARNED),  # of the whole run
    "shut": CUT_OFF,  # of a module that lets nothing through: what learns all the same learns without its features
    **dict.fromkeys(("bypassed", "open", "zero_gate", "identity"), IDLE),  # of one that does nothing
}


@dataclass
class Finding:
    """Something wrong with a run.

    Args:
        kind: one of `WORDS`.
        value: what was measured: percent of a mask or an accuracy, a loss, a ratio, as `WORDS` says.
        epoch: in which it was seen, from 0.
        site: where the module stands; empty if it is the whole network.
        module: the module's class; likewise.
        until: the epoch in which it was gone; None if it never was.
    """

    kind: str
    value: float
    epoch: int
    site: str = ""
    module: str = ""
    until: int | None = None

    def __str__(self) -> str:
        """One clause, without the epoch.

        >>> str(Finding("shut", 0.02, 0, "layer2", "Loupe"))
        'the mask of Loupe at layer2 is shut (mean 0.02 %)'
        """
        return WORDS[self.kind].format(**asdict(self))

    @property
    def number(self) -> int:
        """The epoch's number in words, from 1 as in everything that a run says; `epoch`, which is stored, is from 0."""
        return self.epoch + 1

    @property
    def mark(self) -> str:
        """How bad it is: `NOT_LEARNED`, `CUT_OFF` or `IDLE`."""
        return MARKS[self.kind]


def recorded(findings: Sequence[Finding]) -> str | list[dict[str, Any]]:
    """The entry `health` of `metrics.json`: "ok", or what was seen, in the order in which it was."""
    return [{"seen": str(finding), **asdict(finding)} for finding in findings] or OK


def standing(facts: Mapping[str, Any]) -> list[Finding]:
    """What a record's `health` says of the run as it ended; empty for one that is well, or that nobody looked at."""
    health = facts.get("health")
    entries = health if isinstance(health, list) else []
    names = [field.name for field in fields(Finding)]
    found = [Finding(**{name: entry[name] for name in names}) for entry in entries]
    return [finding for finding in found if finding.until is None]


def mark(facts: Mapping[str, Any]) -> str:
    """The mark of a run in a table, that of the worst that was found; an empty text for a run that is well.

    >>> mark({"health": "ok"}), mark({}), mark({"health": recorded([Finding("chance", 10.1, 2)])})
    ('', '', 'not learned')
    """
    marks = {finding.mark for finding in standing(facts)}
    return next((mark for mark in WORST_FIRST if mark in marks), "")


def told(facts: Mapping[str, Any]) -> str:
    """The mark and its reasons in one line; empty for a run that is well.

    >>> told({"health": recorded([Finding("chance", 10.1, 2)])})
    'not learned: the accuracy stays at chance (10.10 %) since epoch 3'
    """
    reasons = "; ".join(f"{finding} since epoch {finding.number}" for finding in standing(facts))
    return f"{mark(facts)}: {reasons}" if reasons else ""


def worst_mark(told: Sequence[str], marks: Sequence[str] = WORST_FIRST) -> str:
    """How many of several runs have the worst of the marks that any has; empty where none has one.

    Args:
        told: what is told of each run (see `told`).
        marks: those that are looked for, the worst first.

    >>> worst_mark(["module shut: ...", "", "module idle: ..."])
    'module shut: 1 of 3 runs'
    """
    for name in marks:
        if count := sum(text.startswith(name) for text in told):
            return f"{name}: {count} of {len(told)} runs"
    return ""
