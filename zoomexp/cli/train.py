"""Train, test and record one experiment: `zoomexp train attention=loupe backbone=resnet20`; `--help` lists it all."""

from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from zoomexp.cli.command_line import reported
from zoomexp.cli.config_files import CONFIGS


def job(cfg: DictConfig) -> None:
    """Run the experiment, or one job of a multirun."""
    # Imported where it is used: `--help` and a mistake are answered at once.
    from zoomexp.results.sweep import run_job
    from zoomexp.run.compose import with_needs
    from zoomexp.run.experiment import run_all
    from zoomexp.run.interruption import stopping_in_order

    given: Any = HydraConfig.get()
    overrides: Any = OmegaConf.to_container(given.overrides.task)  # as typed: an override may hold an interpolation
    choices: Any = OmegaConf.to_container(given.runtime.choices)

    def train() -> dict[str, Any]:
        return run_all(with_needs(cfg, choices, overrides))

    with stopping_in_order():
        if given.mode.name == "MULTIRUN":
            run_job(train, Path(given.sweep.dir), given.job.num, overrides)
        else:
            with reported():
                train()


main = hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")(job)
