"""Runs from Python, in a notebook above all: what `zoomexp train` does, and its folder as an answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoomexp.cli.command_line import composing
from zoomexp.cli.config_files import configs, find_own_modules
from zoomexp.errors import InputError
from zoomexp.run.explain import explain


@dataclass(frozen=True)
class FinishedRun:
    """A run that has been done.

    Args:
        folder: where its record lies; `zoomexp.load(folder)` is its network.
        metrics: by full name, `test/acc1` for example, in percent or with the unit in the name.
        cost: parameters, MACs, seconds.
        health: "ok", or what was found wrong with it.
    """

    folder: Path
    metrics: dict[str, float]
    cost: dict[str, Any]
    health: str


def train(*overrides: str, config_dir: str | Path | None = None) -> FinishedRun:
    """Train, test and record the run that `zoomexp train` would with these overrides; what is finished is not repeated.

    Args:
        overrides: as on the command line, `"attention=cbam"`, `"seed=1"`; one value each, for a sweep call it again.
        config_dir: a folder of config groups of one's own.

    Raises:
        InputError: A mistake, in one line; nothing has been written then.
        FaultError, DivergedError, NotLearningError: What ended a run that had begun.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from zoomexp.health.findings import told
    from zoomexp.run.compose import compose_run
    from zoomexp.run.experiment import run_all

    find_own_modules()
    try:
        with configs(None if config_dir is None else Path(config_dir)), composing():
            run = compose_run(overrides)
            facts = run_all(run)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error)) from error
    return FinishedRun(run.folder, facts["metrics"], facts["cost"], told(facts) or "ok")
