"""One experiment: built as its config says, trained, tested once, recorded; and before it those that it builds on."""

from functools import partial
from typing import Any

import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.loggers import Logger

from zoomexp.arguments import one_of
from zoomexp.data_protocols import RunData
from zoomexp.errors import InputError
from zoomexp.results.origin import changes, origin_of
from zoomexp.results.record import RunRecord
from zoomexp.results.summary import show
from zoomexp.run.build import build, check_ahead, make
from zoomexp.run.compose import Run
from zoomexp.run.explain import building
from zoomexp.run.fit import fit_and_test
from zoomexp.run.interruption import restarted
from zoomexp.run.labels import labels_of
from zoomexp.run.logger import made_loggers, opened
from zoomexp.run.out_of_memory import in_memory
from zoomexp.run.recipe import missing
from zoomexp.run.shown_results import declare, replay, show_results
from zoomexp.run.sweep_agent import handed_out, not_of_the_job
from zoomexp.tasks.training import TrainedModel


def run_all(run: Run) -> dict[str, Any]:
    """Do the runs that `run` needs, where they have not been done, and then `run`; returns its record's facts."""
    if run.used:
        with building():
            check_ahead(run.cfg, run.folder)
    one_of("stale", run.cfg.stale, ("refuse", "show"))
    *needs, _ = run.chain()
    with not_of_the_job():
        for need in needs:
            experiment(need, stale=run.cfg.stale)
    return experiment(run, rerun=run.cfg.rerun, stale=run.cfg.stale)


def experiment(run: Run, rerun: bool = False, stale: str = "refuse") -> dict[str, Any]:
    """Build what the config says, train it, test it once and record it; returns the record's facts.

    Args:
        run: what is to be done.
        rerun: do it again if it is finished.
        stale: a finished run whose data, files or code have changed since: "refuse" or "show".
    """
    cfg = run.cfg
    record = RunRecord(cfg.output_dir, run.config, run.choices, list(run.overrides))
    rerun, mine = rerun and not restarted(), False  # a requeued job goes on with what it has begun
    if rerun or not record.finished():
        with building(), missing(cfg, run.choices, run.overrides):
            loggers = made_loggers(run.config["logger"], record, labels_of(run))
            built = [build(cfg, record.folder)]
        record.made_from(origin_of(run.config, built[0][2]))
        with record.claimed(OmegaConf.to_yaml(cfg, resolve=True), rerun) as mine:
            if mine:
                with opened(loggers, record):
                    do = partial(_fit_and_show, loggers=loggers, record=record, evaluate=cfg.evaluate)
                    in_memory(lambda: built.pop() if built else build(cfg, record.folder), do, cfg.trainer.on_oom)
    elif changed := changes(record.folder, record.facts, look_at_arrays=True):
        record.facts["changed"] = changed
        if stale == "refuse":
            raise InputError(f"{changed} changed after {record.path} was finished; {_cure(run)}")
    if handed_out() and not mine:  # else the agent's W&B run would stay empty
        loggers = made_loggers(run.config["logger"], record, labels_of(run))
        with opened(loggers, record):
            replay(loggers, record, make(cfg.dataset))
    show(record.facts, record.folder)
    return record.facts


def _fit_and_show(
    trainer: pl.Trainer,
    task: TrainedModel,
    data: RunData,
    *,
    loggers: list[Logger],
    record: RunRecord,
    evaluate: str,
) -> None:
    declare(loggers, task.quantities)
    fit_and_test(trainer, task, data, loggers=loggers, record=record, evaluate=evaluate)
    show_results(loggers, record, data)


def _cure(run: Run) -> str:
    """What to type about a finished run that is no longer true."""
    return f"rerun=true repeats it ({' '.join(run.overrides) or 'no overrides'}), stale=show takes it as it is"
