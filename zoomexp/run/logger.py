"""The run's logger."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from pytorch_lightning.loggers import Logger, WandbLogger

from zoomexp.results.record import RunRecord
from zoomexp.run.wandb_offline import begin


@contextlib.contextmanager
def make_logger(make: Callable[..., Logger] | None, record: RunRecord) -> Iterator[Logger | None]:
    """The run's logger, named and grouped for dashboards; closed at the end, so that the next job gets its own run.

    Args:
        make: Builds the logger; None or empty for none.
        record: Names the run.
    """
    if not make:
        yield None
        return
    choices = record.facts["choices"]
    labels = {key: str(choices.get(key)) for key in ("dataset", "backbone", "attention", "insertion", "experiment")}
    logger = make(
        save_dir=str(record.folder),
        id=record.path.name,
        name="-".join([labels["backbone"], labels["attention"], labels["insertion"], record.path.name]),
        group=f"{labels['dataset']}/{labels['backbone']}",
        job_type="train",
        tags=[f"{key}:{value}" for key, value in labels.items()] + [f"seed:{record.facts['seed']}"],
        config=dict(record.config) | {"choices": choices},
    )
    if isinstance(logger, WandbLogger):
        logger._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns about it
        begin(logger, str(record.folder))
    try:
        yield logger
    finally:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=1 if sys.exc_info()[0] else 0)
