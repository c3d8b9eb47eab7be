"""Train, test and record one experiment: `python train.py attention=loupe backbone=resnet20`; `--help` lists it all."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from zoomexp.command_line import building, reported, run_command

if TYPE_CHECKING:  # imported where it is used: `--help` and a mistake are answered at once
    from zoomexp.composition import Run


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> None:
    """Run the experiment, or one job of a multirun."""
    from zoomexp.composition import with_needs
    from zoomexp.interruption import stopping_in_order
    from zoomexp.results.sweep import run_job

    job = HydraConfig.get()
    overrides = OmegaConf.to_container(job.overrides.task)  # as typed: an override may hold an interpolation
    choices = OmegaConf.to_container(job.runtime.choices)
    with stopping_in_order():
        if job.mode.name == "MULTIRUN":
            run_job(lambda: run_all(with_needs(cfg, choices, overrides)), Path(job.sweep.dir), job.job.num, overrides)
        else:
            with reported():
                run_all(with_needs(cfg, choices, overrides))


def run_all(run: "Run") -> dict:
    """Do the runs that `run` needs, where they have not been done, and then `run`; returns its record's facts."""
    from zoomexp.composition import check_ahead

    if run.used:
        with building():
            check_ahead(run.cfg, run.folder)
    for one in run.chain():
        facts = experiment(one, rerun=one is run and run.cfg.rerun)
    return facts


def experiment(run: "Run", rerun: bool = False) -> dict:
    """Build what the config says, train it, test it once and record it; returns the record's facts."""
    from zoomexp.composition import build, make
    from zoomexp.interruption import restarted
    from zoomexp.memory import in_memory
    from zoomexp.recipe import missing
    from zoomexp.results.record import RunRecord
    from zoomexp.results.summary import show
    from zoomexp.running import fit_and_test, make_logger

    cfg = run.cfg
    record = RunRecord(cfg.output_dir, run.config, run.choices, list(run.overrides))
    rerun = rerun and not restarted()  # a requeued job goes on with what it has begun
    if rerun or not record.finished():
        with building(), missing(cfg, run.choices, run.overrides):
            built = [build(cfg, record.folder)]
        with record.alone(OmegaConf.to_yaml(cfg, resolve=True), rerun) as mine:
            if mine:
                with make_logger(make(cfg.logger), record) as logger:
                    do = partial(fit_and_test, logger=logger, record=record, evaluate=cfg.evaluate)
                    in_memory(lambda: built.pop() if built else build(cfg, record.folder), do, cfg.trainer.on_oom)
    show(record.facts, record.folder)
    return record.facts


if __name__ == "__main__":
    run_command(main)
