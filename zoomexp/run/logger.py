"""The run's loggers: none, one, or several."""

import contextlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.utils import get_object, instantiate
from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

from zoomexp.errors import InputError
from zoomexp.processes import first_process
from zoomexp.results.record import RunRecord
from zoomexp.run.explain import explain
from zoomexp.run.labels import Labels
from zoomexp.run.sweep_agent import handed_out, leave_config_whole
from zoomexp.run.wandb_offline import begin

# What Lightning's loggers need beside Lightning; any of the modules will do.
NEEDED = {"TensorBoardLogger": ("tensorboard", "tensorboardX"), "MLFlowLogger": ("mlflow",)}
ELSEWHERE = {"name": "WANDB_NAME", "group": "WANDB_RUN_GROUP", "job_type": "WANDB_JOB_TYPE", "tags": "WANDB_TAGS",
             "id": "WANDB_RUN_ID"}  # fmt: skip


def named(node: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The loggers of a config's `logger`: one that is written at its top, and those that have names of their own.

    >>> named({"_target_": "a.B", "mode": "offline", "csv": {"_target_": "c.D"}})
    {'csv': {'_target_': 'c.D'}, 'logger': {'_target_': 'a.B', 'mode': 'offline'}}

    Raises:
        InputError: Where something is no logger.
    """
    below: dict[str, Any] = {name: one for name, one in node.items() if isinstance(one, Mapping) and "_target_" in one}
    rest = {name: one for name, one in node.items() if name not in below}
    if "_target_" in rest:
        return {**below, "logger": rest}
    if odd := [name for name, one in rest.items() if one is not None]:
        raise InputError(f"logger.{odd[0]}: no such option; allowed: loggers by name, each with a _target_")
    return below


def made_loggers(node: Mapping[str, Any], record: RunRecord, labels: Labels) -> list[Logger]:
    """The loggers of a run, labelled; nothing has been begun or written.

    Args:
        node: the config's `logger`, plain containers; without any in it there are none.
        record: whose folder they will write into, unless they say another, and whose config they get.
        labels: what the run is called.

    Raises:
        InputError: For one that is no logger, lacks its package, or does not have an option.
    """
    options = {name if name == "logger" else f"logger.{name}": one for name, one in named(node).items()}
    return [_made(option, one, record, labels) for option, one in options.items()]


@contextlib.contextmanager
def opened(loggers: Sequence[Logger], record: RunRecord) -> Iterator[None]:
    """Begin what loggers write, and close it at the end, so that the next job of a sweep gets its own."""
    try:
        for logger in loggers:
            _begin(logger, record)
        yield
    finally:
        for logger in loggers:
            _close(logger, failed=sys.exc_info()[0] is not None)


def _made(option: str, node: Mapping[str, Any], record: RunRecord, labels: Labels) -> Logger:
    kind = _kind(option, node["_target_"])
    offered: dict[str, Any] = {}
    if isinstance(kind, type) and issubclass(kind, WandbLogger):
        offered = _for_wandb(record, labels)
    elif isinstance(kind, type) and issubclass(kind, MLFlowLogger):
        offered = {"run_name": labels.name, "tags": {**labels.tags, "group": labels.group}}
    if "save_dir" in inspect.signature(kind).parameters:
        offered["save_dir"] = str(record.folder)
    own = {name: value for name, value in offered.items() if node.get(name) is None}
    try:
        made = instantiate(dict(node) | {"_partial_": True}, _convert_="all")(**own)  # W&B has an option `config`, too
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{option}: {explain(error)}") from error
    if not isinstance(made, Logger):
        raise InputError(f"{option}: {type(made).__name__} is no logger of pytorch_lightning")
    return made


def _kind(option: str, target: str) -> Any:
    """The class or function of a logger."""
    try:
        kind = get_object(target)
    except Exception as error:  # whatever a user's module raises
        raise InputError(f"{option}._target_={target!r}: no such class or function") from error
    modules = NEEDED.get(getattr(kind, "__name__", ""), ())
    if modules and not any(map(importlib.util.find_spec, modules)):
        raise InputError(f"{option}: {modules[0]} is not installed; pip install {modules[0]}")
    if isinstance(kind, type) and not issubclass(kind, Logger):
        raise InputError(f"{option}: {kind.__name__} is no logger of pytorch_lightning")
    return kind


def _for_wandb(record: RunRecord, labels: Labels) -> dict[str, Any]:
    """What W&B is told of a run where neither an option nor one of its environment variables says it."""
    config = dict(record.config) | {"choices": record.choices}
    ours = {"name": labels.name, "group": labels.group, "job_type": labels.kind, "tags": labels.listed(),
            "id": record.path.name, "config": config}  # fmt: skip
    return {name: value for name, value in ours.items() if not os.environ.get(ELSEWHERE.get(name, ""))}


def _begin(logger: Logger, record: RunRecord) -> None:
    if not isinstance(logger, WandbLogger):
        logger.log_hyperparams(dict(record.config))
        return
    if handed_out() and first_process():  # the sweep says which project, and which run, and W&B warns about others
        logger._wandb_init |= {"project": None, "entity": None, "id": None}
        leave_config_whole(logger._wandb_init.get("config") or {}, record.folder)
    begin(logger, str(record.folder))


def _close(logger: Logger, failed: bool) -> None:
    if isinstance(logger, WandbLogger):
        logger.experiment.finish(exit_code=1 if failed else 0)
    else:
        logger.finalize("failed" if failed else "success")
