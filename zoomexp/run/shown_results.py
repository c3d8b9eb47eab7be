"""What loggers are shown of a run when it is done: what its record holds; and all of it again, for a finished run."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from pytorch_lightning.loggers import Logger, WandbLogger

from zoomexp.health.findings import told
from zoomexp.metrics.declared import declaration
from zoomexp.metrics.quantity import BEST, Quantity
from zoomexp.processes import first_process
from zoomexp.results.record import RunRecord
from zoomexp.results.recorded_quantities import main_of, quantities_of
from zoomexp.run.logged_epochs import log_epochs
from zoomexp.run.wandb_media import figures, media
from zoomexp.run.wandb_run import WandbRun

SERIES = ("train/", "val/", "gate/")  # what there is once an epoch


def declare(loggers: Iterable[Logger], quantities: Iterable[Quantity]) -> None:
    """Tell loggers which value of each series is the best one."""
    known = list(quantities)
    best = {f"{split}/{one.key}": one.mode for split in ("train", "val") for one in known if one.mode}
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.declare(best)


def show_results(loggers: Iterable[Logger], record: RunRecord, data: Any) -> None:
    """Show what a run has measured once: metrics, cost; in W&B also tables and charts of its test images.

    Args:
        loggers: of the run.
        record: of the finished run.
        data: where its test images are.
    """
    if not first_process():
        return
    for logger in loggers:
        logger.log_metrics(measured_once(record))
        if isinstance(logger, WandbLogger) and (shown := media(record, data)):
            logger.experiment.log(shown)


def replay(loggers: Iterable[Logger], record: RunRecord, data: Any) -> None:
    """Show all of a finished run, as if it were done now: epochs, results, figures, what was found of its health.

    Args:
        loggers: new ones.
        record: of the finished run.
        data: not prepared yet.
    """
    if not first_process():
        return
    rows = history_of(record)
    own = quantities_of(record.facts)
    found = {declaration(name, own) for row in rows for name in row if name.startswith(SERIES)}
    declare(loggers, {one for one in found if one is not None})
    log_epochs(loggers, rows)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary["health"] = told(record.facts) or "ok"
            if pictures := figures(record):
                logger.experiment.log(pictures)
    data.prepare_data()
    data.setup("test")
    show_results(loggers, record, data)


def history_of(record: RunRecord) -> list[dict[str, Any]]:
    """The rows of a run's `history.csv`, without empty cells; none of a run without epochs."""
    path = record.folder / "history.csv"
    if not path.exists():
        return []
    rows = pd.read_csv(path).to_dict("records")
    return [{str(name): value for name, value in row.items() if not pd.isna(value)} for row in rows]


def measured_once(record: RunRecord) -> dict[str, float]:
    """What is no series: test and start metrics, cost, and the best value of the main quantity in validation."""
    metrics, cost = record.facts["metrics"], record.facts["cost"]
    once = {name: value for name, value in metrics.items() if not name.startswith(SERIES) or name.endswith(BEST)}
    figures = {f"cost/{name}": value for name, value in cost.items() if isinstance(value, int | float)}
    return best_of_main(record) | once | figures


def best_of_main(record: RunRecord) -> dict[str, float]:
    """`val/<main>_best`, whatever the best epoch is chosen by: what sweeps look for."""
    name = f"val/{main_of(record.facts)}"
    quantity = declaration(name, quantities_of(record.facts))
    seen = [row[name] for row in history_of(record) if name in row]
    if not seen or quantity is None or quantity.mode is None:
        return {}
    return {name + BEST: max(seen) if quantity.mode == "max" else min(seen)}
