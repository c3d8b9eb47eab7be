"""What a library refuses in the middle of a run, in one line that names the option behind it.

Only errors that a library raised on behalf of this package's own code: where code of the user's takes part, its
traceback says more, and an error that this package raises by itself is a mistake of it.
"""

import contextlib
import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from zoomexp.errors import FaultError, InputError
from zoomexp.run.explain import flat
from zoomexp.run.faults import as_fault
from zoomexp.upstream.trainer_parts import callbacks_of

OURS = (str(Path(__file__).parents[1]),)
LIBRARIES = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
TOLD = (InputError, ArithmeticError, FaultError, OSError)  # what others answer: input, divergence, the machine, files
PYTHONS = (TypeError, AttributeError, LookupError, NameError)
OPTIONS = {
    Logger: "logger", Profiler: "trainer.profiler", Precision: "trainer.precision", Strategy: "trainer.strategy",
    Optimizer: "optimizer", LRScheduler: "scheduler", DataLoader: "dataset", pl.LightningDataModule: "dataset",
}  # fmt: skip
MODULES = {"zoomexp.tokens.": "tokens", "zoomexp.datasets.": "dataset", "timm.data.mixup": "mixing"}


@contextlib.contextmanager
def named_errors(trainer: pl.Trainer, task: pl.LightningModule) -> Iterator[None]:
    """Inside, an error of a library becomes an input error that names an option.

    Args:
        trainer: whose callbacks are known by the name that their `option` has.
        task: its network's parts are known by their options, too.

    Raises:
        InputError: in the place of an error of a library.
    """
    try:
        yield
    except TOLD:
        raise
    except Exception as error:
        fault = as_fault(error, Path(trainer.default_root_dir))
        if fault or not (isinstance(error, MisconfigurationException) or _of_a_library(error)):
            raise
        raise InputError(f"{_option(error, trainer, task)}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """Its message; of an error in a process that reads images, the one that was raised there.

    What Python says of a library's code helps nobody who cannot see that code.
    """
    if isinstance(error, PYTHONS):
        return "cannot work in this run with the options that it has; HYDRA_FULL_ERROR=1 in the environment shows where"
    text = flat(error) or type(error).__name__
    return text.rpartition(f"{type(error).__name__}: ")[2] if _elsewhere(error) else text


def _elsewhere(error: BaseException) -> list[str]:
    """The files of the traceback that a data loader puts into the message of an error of its processes."""
    text = str(error)
    return re.findall(r'^  File "(.+?)", line', text, re.MULTILINE) if text.startswith("Caught ") else []


def _frames(error: BaseException) -> list[FrameType]:
    """The frames that the error went through, the one that raised it first."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)][::-1]


def _of_a_library(error: BaseException) -> bool:
    """Whether a library raised it, and nobody's code but this package's and libraries' took part."""
    files = [frame.f_code.co_filename for frame in _frames(error)]
    owners = [_owner(file) for file in (*_elsewhere(error)[::-1], *files)]
    return owners[0] == "library" and "user" not in owners


def _owner(file: str) -> str:
    """Whose code a file is: "ours", that of a "library", or a "user"'s."""
    if any(Path(file).is_relative_to(folder) for folder in OURS):
        return "ours"
    known = file.startswith("<") or any(Path(file).is_relative_to(folder) for folder in LIBRARIES)
    return "library" if known else "user"


def _option(error: BaseException, trainer: pl.Trainer, task: pl.LightningModule) -> str:
    """The option behind the innermost object that has one."""
    if _elsewhere(error):
        return "dataset"
    owners = (frame.f_locals.get("self") for frame in _frames(error))
    return next((option for owner in owners if (option := _option_of(owner, trainer, task))), "trainer")


def _option_of(owner: object, trainer: pl.Trainer, task: pl.LightningModule) -> str | None:
    """The option that an object stands for; None if it stands for none."""
    if isinstance(owner, pl.Callback) and owner in callbacks_of(trainer):
        return getattr(owner, "option", "callbacks")
    by_module = (option for begin, option in MODULES.items() if type(owner).__module__.startswith(begin))
    by_kind = (option for kind, option in OPTIONS.items() if isinstance(owner, kind))
    found = next(by_module, None) or next(by_kind, None)
    return found or (_part(owner, task) if isinstance(owner, nn.Module) else None)


def _part(module: nn.Module, task: pl.LightningModule) -> str | None:
    """The option of a module of the task; None for what is none of its parts."""
    name = next((name for name, part in task.named_modules() if part is module), "")
    first, *inside = name.split(".")
    if first == "model":
        return "attention" if "inserted" in inside else "backbone"
    return "loss" if first == "loss" else None
