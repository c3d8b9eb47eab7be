"""From overrides to configs and runs.

A config may say which other runs it builds on,

    needs: {teacher: [experiment=zoomvit/digits_teacher]}

as the overrides that make them; they also get this run's seed, its folders and its hardware. Composed, the overrides
become the folder of that run (`${needs.teacher}` elsewhere in the config), so what a run is built on decides its own
folder. A need that is a text instead of a list is taken as the folder of a finished run.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from hydra import compose
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from zoomexp import weights_data
from zoomexp.arguments import boolean
from zoomexp.errors import InputError
from zoomexp.results.identity import run_folder, run_path
from zoomexp.results.stored import finished_facts
from zoomexp.run.host_fit import check_fit
from zoomexp.run.overrides import key_of
from zoomexp.run.processor import settle
from zoomexp.run.recipe import fitted

# What a run hands on to the runs it needs, and with "logger" what is in it.
HANDED_ON = ("data_dir", "output_dir", "seed", "logger", "trainer", "trainer.accelerator", "trainer.devices",
             "trainer.num_nodes", "trainer.strategy", "trainer.precision", "trainer.graph", "compile")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A composed run.

    Args:
        cfg: its config, its needs replaced by folders.
        choices: the config groups' choices.
        overrides: what was typed.
        needs: the runs that its config names, in its order.
        composed: its config as Hydra composed it.
    """

    cfg: DictConfig
    choices: dict[str, str]
    overrides: tuple[str, ...]
    needs: dict[str, "Run"]
    composed: DictConfig

    def with_seed(self, seed: int) -> "Run":
        """The same run with another seed, and so with other runs that it needs."""
        typed = [override for override in self.overrides if key_of(override) != "seed"]
        cfg = self.composed.copy()
        cfg.seed = seed
        return with_needs(cfg, self.choices, [*typed, f"seed={seed}"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config as plain containers.

        Raises:
            InputError: If it is not whole, and its tokens do not fit its backbone.
            OmegaConfBaseException: If it is not whole for another reason.
        """
        try:
            return cast(dict[str, Any], OmegaConf.to_container(self.cfg, resolve=True, throw_on_missing=True))
        except InterpolationKeyError:
            check_fit(self.cfg)
            raise

    @property
    def folder(self) -> Path:
        """Where the run keeps its record."""
        return run_folder(Path(self.cfg.output_dir).resolve(), self.path)

    @cached_property
    def path(self) -> Path:
        """Its name below `runs`; a record made under an earlier name lies elsewhere (see `folder`)."""
        return run_path(self.config, self.choices)

    @property
    def depth(self) -> int:
        """How many runs have to be done one after the other before this one."""
        return max((1 + need.depth for need in self.used), default=0)

    @cached_property
    def used(self) -> list["Run"]:
        """Those of its needs that something in its config refers to: with other tokens there is no Zoomer to train."""
        if not self.needs:
            return []
        marked = self.composed.copy()
        marked.needs = {name: f"<run {name}>" for name in self.composed.needs}
        plain: Any = OmegaConf.to_container(marked, resolve=True)
        found = _marks({key: node for key, node in plain.items() if key != "needs"})
        for name in reversed(self.needs):
            if name in found:  # its overrides may refer to those before it
                marked.needs[name] = self.composed.needs[name]
                needs: Any = OmegaConf.to_container(marked.needs, resolve=True)
                found |= _marks(needs[name])
        return [need for name, need in self.needs.items() if name in found]

    def chain(self) -> Iterator["Run"]:
        """The runs it builds on, each after its own needs, and then the run itself."""
        for need in self.used:
            yield from need.chain()
        yield self


def compose_run(overrides: Sequence[str]) -> Run:
    """Compose the run that `train.py` would do with these overrides.

    Raises:
        InputError, HydraException: If they do not compose.
    """
    return with_needs(*_composed(overrides), overrides)


def _composed(overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """The config of these overrides, and the choices of its groups."""
    cfg = compose("train", overrides=list(overrides), return_hydra_config=True)
    choices: Any = OmegaConf.to_container(cfg.hydra.runtime.choices)
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]), choices


def with_needs(cfg: DictConfig, choices: dict[str, str], overrides: Sequence[str]) -> Run:
    """Bring `cfg` under the recipe of its start, compose the runs that it needs, and write their folders into a copy.

    Raises:
        InputError: If a need is neither overrides nor the folder of a finished run, or a recipe was typed that the
            run's start rules out.
    """
    boolean("rerun", cfg.rerun)
    cfg, choices = fitted(cfg, choices, overrides, _composed)
    cfg = settle(cfg)
    if not isinstance(cfg.needs, DictConfig):
        raise InputError(f"needs={cfg.needs} must name runs: needs={{teacher: [overrides of train.py]}}")
    if not cfg.needs:
        return Run(cfg, choices, tuple(overrides), {}, cfg)
    composed, cfg, needs = cfg, cfg.copy(), {}
    handed_on = [override for override in overrides if is_handed_on(override)]
    for name, need in cfg.needs.items():
        if isinstance(need, ListConfig):
            needs[name] = _needed(need, handed_on, cfg.seed)
            below = needs[name].folder.relative_to(Path(cfg.output_dir).resolve())
            cfg.needs[name] = str(Path(cfg.output_dir) / below)
            weights_data.plan(cfg.needs[name], needs[name].cfg)
        elif isinstance(need, str):
            finished_facts(need, f"needs.{name}")
        else:
            raise InputError(f"needs.{name}={need} must be a list of train.py's overrides, or a finished run's folder")
    return Run(cfg, choices, tuple(overrides), needs, composed)


def _needed(need: Sequence[str], handed_on: Sequence[str], seed: int) -> Run:
    """A needed run: with this run's seed, unless its overrides name one."""
    if any(key_of(word) == "seed" for word in need):
        return _once((*handed_on, *need))
    return _seeded(tuple(word for word in (*handed_on, *need) if key_of(word) != "seed"), seed)


@lru_cache(maxsize=1000)
def _seeded(overrides: tuple[str, ...], seed: int) -> Run:
    """Composing is slow, and another seed changes little of it."""
    return _once((*overrides, "seed=0")).with_seed(seed)


@lru_cache(maxsize=1000)
def _once(overrides: tuple[str, ...]) -> Run:
    """A run, composed once: many runs need the same."""
    return compose_run(overrides)


def is_handed_on(override: str) -> bool:
    """Whether an override reaches the runs that a run needs, however it is written: `++trainer.precision=...` too."""
    key = key_of(override)
    return key in HANDED_ON or key.startswith("logger.")


def _marks(node: Any) -> set[str]:
    """The names of the runs whose marks stand in plain containers."""
    return set(re.findall(r"<run (\w+)>", json.dumps(node, default=str)))
