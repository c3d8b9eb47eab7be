"""One experiment: built as its config says, trained, tested once, recorded; and before it those that it builds on."""

from functools import partial

from omegaconf import OmegaConf

from zoomexp.arguments import one_of
from zoomexp.errors import InputError
from zoomexp.results.origin import changes, origin_of
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
    one_of("stale", run.cfg.stale, ("refuse", "show"))
    for one in run.chain():
        facts = experiment(one, rerun=one is run and run.cfg.rerun, stale=run.cfg.stale)
    return facts


def experiment(run: Run, rerun: bool = False, stale: str = "refuse") -> dict:
    """Build what the config says, train it, test it once and record it; returns the record's facts.

    Args:
        run: what is to be done.
        rerun: do it again if it is finished.
        stale: a finished run whose data, files or code have changed since: "refuse" or "show".
    """
    cfg = run.cfg
    record = RunRecord(cfg.output_dir, run.config, run.choices, list(run.overrides))
    rerun = rerun and not restarted()  # a requeued job goes on with what it has begun
    if rerun or not record.finished():
        with building(), missing(cfg, run.choices, run.overrides):
            built = [build(cfg, record.folder)]
        record.made_from(origin_of(run.config, built[0][2]))
        with record.claimed(OmegaConf.to_yaml(cfg, resolve=True), rerun) as mine:
            if mine:
                with make_logger(make(cfg.logger), record) as logger:
                    do = partial(fit_and_test, logger=logger, record=record, evaluate=cfg.evaluate)
                    in_memory(lambda: built.pop() if built else build(cfg, record.folder), do, cfg.trainer.on_oom)
    elif changed := changes(record.folder, record.facts, look_at_arrays=True):
        record.facts["changed"] = changed
        if stale == "refuse":
            raise InputError(f"{changed} changed after {record.path} was finished; {_cure(run)}")
    show(record.facts, record.folder)
    return record.facts


def _cure(run: Run) -> str:
    """What to type about a finished run that is no longer true."""
    return f"rerun=true repeats it ({' '.join(run.overrides) or 'no overrides'}), stale=show takes it as it is"
