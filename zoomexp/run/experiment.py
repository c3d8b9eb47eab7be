"""One experiment: built as its config says, trained, tested once, recorded; and before it those that it builds on."""

from functools import partial

from omegaconf import OmegaConf

from zoomexp.results.record import RunRecord
from zoomexp.results.summary import show
from zoomexp.run.build import build, check_ahead, make
from zoomexp.run.compose import Run
from zoomexp.run.explain import building
from zoomexp.run.fit import fit_and_test
from zoomexp.run.interruption import restarted
from zoomexp.run.logger import make_logger
from zoomexp.run.out_of_memory import in_memory
from zoomexp.run.recipe import missing


def run_all(run: Run) -> dict:
    """Do the runs that `run` needs, where they have not been done, and then `run`; returns its record's facts."""
    if run.used:
        with building():
            check_ahead(run.cfg, run.folder)
    for one in run.chain():
        facts = experiment(one, rerun=one is run and run.cfg.rerun)
    return facts


def experiment(run: Run, rerun: bool = False) -> dict:
    """Build what the config says, train it, test it once and record it; returns the record's facts."""
    cfg = run.cfg
    record = RunRecord(cfg.output_dir, run.config, run.choices, list(run.overrides))
    rerun = rerun and not restarted()  # a requeued job goes on with what it has begun
    if rerun or not record.finished():
        with building(), missing(cfg, run.choices, run.overrides):
            built = [build(cfg, record.folder)]
        with record.claimed(OmegaConf.to_yaml(cfg, resolve=True), rerun) as mine:
            if mine:
                with make_logger(make(cfg.logger), record) as logger:
                    do = partial(fit_and_test, logger=logger, record=record, evaluate=cfg.evaluate)
                    in_memory(lambda: built.pop() if built else build(cfg, record.folder), do, cfg.trainer.on_oom)
    show(record.facts, record.folder)
    return record.facts
