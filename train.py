"""Train, test and record one experiment: `python train.py attention=loupe backbone=resnet20`; `--help` lists it all."""

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
    from zoomexp.results.sweep import run_job

    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    choices = OmegaConf.to_container(job.runtime.choices)
    if job.mode.name == "MULTIRUN":
        run_job(lambda: run_all(with_needs(cfg, choices, overrides)), Path(job.sweep.dir), job.job.num, overrides)
    else:
        with reported():
            run_all(with_needs(cfg, choices, overrides))


def run_all(run: "Run") -> dict:
    """Do the runs that `run` needs, where they have not been done, and then `run`; returns its record's facts."""
    for one in run.chain():
        facts = experiment(one, rerun=one is run and run.cfg.rerun)
    return facts


def experiment(run: "Run", rerun: bool = False) -> dict:
    """Build what the config says, train it, test it once and record it; returns the record's facts."""
    from zoomexp.composition import make
    from zoomexp.results.record import RunRecord
    from zoomexp.results.summary import show
    from zoomexp.running import fit_and_test, make_logger, make_ready

    cfg = run.cfg
    record = RunRecord(cfg.output_dir, run.config, run.choices, list(run.overrides))
    if rerun or not record.finished():
        with building():
            data, task, trainer = build(cfg, record.folder)
            make_ready(trainer, task, data, cfg.checkpoint, cfg.evaluate)
        with record.alone(OmegaConf.to_yaml(cfg, resolve=True), rerun) as mine:
            if mine:
                with make_logger(make(cfg.logger), record) as trainer.logger:
                    fit_and_test(trainer, task, data, record, cfg.evaluate)
    show(record.facts, record.folder)
    return record.facts


def build(cfg: DictConfig, folder: Path) -> tuple:
    """The data module, the task around its network, and the trainer that will write into `folder`."""
    from zoomexp.composition import make, network
    from zoomexp.running import prepare, shape_of

    prepare(cfg.seed, cfg.evaluate)
    data = make(cfg.dataset)
    data = make(cfg.relevance)(data=data) if cfg.relevance else data
    data.prepare_data()
    data.setup("fit")
    parts = {name: make(cfg[name]) or None for name in ("loss", "mixing", "optimizer", "scheduler")}
    task = make(cfg.task)(model=network(cfg, shape_of(data)), num_classes=data.num_classes, **parts)
    callbacks = list(make(cfg.callbacks).values())
    return data, task, make(cfg.trainer, callbacks=callbacks, logger=False, default_root_dir=folder)


if __name__ == "__main__":
    run_command(main)
