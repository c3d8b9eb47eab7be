"""Train, test and record one experiment: `python train.py attention=loupe backbone=resnet20`; `--help` lists it all."""

from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from zoomexp.command_line import building, reported, run_command

make = partial(instantiate, _convert_="all")  # plain lists and dicts: nothing below this file sees a config object


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> None:
    """Run the experiment, or one job of a multirun."""
    from zoomexp.results.sweep import run_job

    job = HydraConfig.get()
    if job.mode.name == "MULTIRUN":
        run_job(lambda: experiment(cfg, job), Path(job.sweep.dir), job.job.num, list(job.overrides.task))
    else:
        with reported():
            experiment(cfg, job)


def experiment(cfg: DictConfig, job: DictConfig) -> dict:
    """Build what the config says, train it, test it once and record it; returns the record's facts."""
    from zoomexp.results.record import RunRecord
    from zoomexp.results.summary import show
    from zoomexp.running import fit_and_test, make_logger, make_ready

    config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    record = RunRecord(cfg.output_dir, config, OmegaConf.to_container(job.runtime.choices), list(job.overrides.task))
    if cfg.rerun or not record.finished():
        with building():
            data, task, trainer = build(cfg, record.folder)
            make_ready(trainer, task, data, cfg.checkpoint)
            record.start(OmegaConf.to_yaml(cfg, resolve=True), rerun=cfg.rerun)
        with record.running(), make_logger(make(cfg.logger), record) as trainer.logger:
            fit_and_test(trainer, task, data, record, cfg.evaluate)
    show(record.facts, record.folder)
    return record.facts


def build(cfg: DictConfig, folder: Path) -> tuple:
    """The data module, the task around its network, and the trainer that will write into `folder`."""
    from zoomexp.model import build_model
    from zoomexp.running import prepare

    prepare(cfg.seed, cfg.evaluate)
    data = make(cfg.dataset)
    data.prepare_data()
    data.setup("fit")
    shape = {"num_classes": data.num_classes, "in_chans": data.channels, "image_size": data.image_size}
    attention = make(cfg.attention) or None
    network = build_model(make(cfg.backbone), attention=attention, at=cfg.insertion.at, **shape)
    parts = {name: make(cfg[name]) or None for name in ("loss", "optimizer", "scheduler")}
    task = make(cfg.task)(model=network, num_classes=data.num_classes, **parts)
    callbacks = list(make(cfg.callbacks).values())
    return data, task, make(cfg.trainer, callbacks=callbacks, logger=False, default_root_dir=folder)


if __name__ == "__main__":
    run_command(main)
