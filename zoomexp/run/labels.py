"""What a run is called in loggers: a name to read, its group, its kind and its tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoomexp.results.identity import HOST, NOT_SCIENCE, chosen_name
from zoomexp.run.compose import Run
from zoomexp.run.overrides import key_of

# The choices that runs are tagged with; `scripts/dashboard.py` filters by them.
TAGGED = ("dataset", "backbone", "attention", "insertion", "tokens", "task", "experiment")
IN_NAME = ("dataset", "backbone", "backbone.name", "attention", "attention.name", "insertion", "tokens", "seed",
           "experiment", "sweep")  # fmt: skip
LONGEST = {"tag": 64, "name": 128}  # what W&B takes


@dataclass(frozen=True)
class Labels:
    """The labels of a run.

    Attributes:
        name: host, module, place, how the host gets its tokens, what else was typed, and the seed.
        group: the same for all runs that differ only in their seed, and only for them.
        kind: "train", or "test" of a run that trains nothing.
        tags: value by label, "attention" -> "cbam"; nothing for what was not chosen.
    """

    name: str
    group: str
    kind: str
    tags: Mapping[str, str]

    def listed(self) -> list[str]:
        """The tags as texts, `label:value`."""
        return [f"{label}:{value}"[: LONGEST["tag"]] for label, value in self.tags.items()]


def labels_of(run: Run) -> Labels:
    """The labels of a composed run."""
    named = {group: chosen_name(group, run.config, run.choices) for group in HOST}
    chosen = dict(run.choices) | named
    tokens = [f"tokens={chosen['tokens']}"] if chosen.get("tokens") not in (None, "uniform") else []
    tags = {label: str(chosen[label]) for label in TAGGED if chosen.get(label)}
    return Labels(
        name=" ".join(["-".join(named.values()), *tokens, *_more(run.overrides), f"seed{run.cfg.seed}"])[
            : LONGEST["name"]
        ],
        group=_group(run),
        kind="test" if run.config.get("evaluate") == "start" else "train",
        tags=tags | {"seed": str(run.cfg.seed)},
    )


def _more(overrides: Sequence[str]) -> list[str]:
    """What was typed beside host, module, place and seed, and decides the numbers."""
    watched: tuple[Any, ...] = (*NOT_SCIENCE, "hydra")
    return [
        word
        for word in overrides
        if (key := key_of(word)) not in IN_NAME
        and not any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in watched)
    ]


def _group(run: Run) -> str:
    """`<dataset>/<host>/<hash of the same run with seed 0>`."""
    first = run if run.cfg.seed == 0 else run.with_seed(0)
    return first.path.with_name(first.path.name.rpartition("-")[2]).as_posix()
