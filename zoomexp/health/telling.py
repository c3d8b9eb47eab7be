"""Says once what was found: a warning, an alert and a summary value in W&B, and, if asked, the end of the run."""

import logging
from collections.abc import Sequence

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from zoomexp.errors import NotLearningError
from zoomexp.health.cures import Setting, cure
from zoomexp.health.findings import CUT_OFF, IDLE, NOT_LEARNED, Finding, recorded, told

log = logging.getLogger(__name__)

MEANINGS = {
    NOT_LEARNED: "the run does not learn",
    CUT_OFF: "no features pass it, and no gradient comes back",
    IDLE: "the run measures the network without it",
}


def tell(
    trainer: pl.Trainer, task: pl.LightningModule, new: Sequence[Finding], known: Sequence[Finding], stop: bool
) -> None:
    """Say what is new, unless it only follows from what was said before.

    A network whose mask is shut comes to be at chance, too: that is recorded, and not told again.

    Args:
        trainer: of the run.
        task: of the run.
        new: what was found just now.
        known: everything found so far, `new` included.
        stop: end the run if it does not learn.

    Raises:
        NotLearningError: In every process, if `stop` and one of `new` keeps the run from learning.
    """
    cause = any(one.mark != IDLE and one.until is None and one not in new for one in known)
    said = [one for one in new if one.site or not cause]
    if said and trainer.is_global_zero:
        text = message(said, setting_of(trainer, task))
        log.warning("epoch %d: %s", said[0].number, text)
        for logger in _wandb_loggers(trainer):
            logger.experiment.alert(title=f"zoomexp: {said[0].mark}", text=text, level="WARN")
    if new:
        summarise(trainer, known)
    if stop:
        end_if_dead(new)


def message(findings: Sequence[Finding], setting: Setting) -> str:
    """The findings of one moment in one line: what, what it means, what to try."""
    what = "; ".join(map(str, findings))
    worst = min(findings, key=lambda one: list(MEANINGS).index(one.mark))
    return f"{what}: {MEANINGS[worst.mark]}; try {cure(worst, setting)}"


def end_if_dead(findings: Sequence[Finding]) -> None:
    """Raise for the first finding that keeps the run from learning, if it still stands."""
    dead = next((one for one in findings if one.mark != IDLE and one.until is None), None)
    if dead is not None:
        raise NotLearningError(f"{dead} since epoch {dead.number}, and callbacks.gates.stop=true")


def summarise(trainer: pl.Trainer, findings: Sequence[Finding]) -> None:
    """Write the summary value `health` of the run's W&B run: "ok", or the mark and its reasons."""
    for logger in _wandb_loggers(trainer):
        health = recorded(findings)
        logger.experiment.summary["health"] = told({"health": health}) or "ok"


def setting_of(trainer: pl.Trainer, task: pl.LightningModule) -> Setting:
    """How the run is trained."""
    optimizer = trainer.optimizers[0]
    groups = optimizer.param_groups
    return Setting(
        optimizer=type(optimizer).__name__,
        lr=max(group.get("initial_lr", group["lr"]) for group in groups),
        weight_decay=max(group.get("weight_decay", 0.0) for group in groups),
        clip=trainer.gradient_clip_val,
        sparsity=getattr(task.loss, "sparsity", None),
    )


def _wandb_loggers(trainer: pl.Trainer) -> list[WandbLogger]:
    return [one for one in trainer.loggers if isinstance(one, WandbLogger)] if trainer.is_global_zero else []
