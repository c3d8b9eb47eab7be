"""Entry points' manners: a user's mistake is one line and exit code 2, never a traceback, and answered at once."""

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from zoomexp.errors import DivergedError, FaultError, InputError, NotLearningError

ASKED_FOR_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"
ENDED = (DivergedError, NotLearningError, FaultError)  # what ends a run that has begun


def run_command(main: Callable[[], None]) -> None:
    """Run a Hydra entry point; what is wrong with the command line itself is said in one line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them and exiting with 1
    with reported(), composing():
        _check_flags()
        try:
            main()
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if sweep := sys.modules.get("zoomexp.results.sweep"):  # imported where a multirun has begun
                sweep.close(error)
            raise


def _check_flags() -> None:
    """Say in one line what argparse, which Hydra leaves the flags to, would say in ten."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> None:
        allowed = "; allowed: name=value, and before these -m and the flags that --hydra-help lists"
        raise InputError(message + allowed * message.startswith("unrecognized"))

    parser = get_args_parser()
    parser.error = refuse
    parser.parse_args()


@contextlib.contextmanager
def composing() -> Iterator[None]:
    """Hydra answers some command lines that do not compose with errors that are not its own."""
    try:
        yield
    except (TypeError, ValueError, AssertionError) as error:
        deepest = traceback.extract_tb(error.__traceback__)[-1].filename
        if not {"hydra", "omegaconf"} & set(Path(deepest).parts):
            raise
        raise InputError(f"the options do not compose: {_flat(error)}") from error


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn bad input into one line and exit code 2, what ends a begun run into one line and 1, Ctrl-C into one and 130.

    `HYDRA_FULL_ERROR=1` in the environment shows the traceback.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (InputError, *ENDED, HydraException, OmegaConfBaseException) as error:
        if ASKED_FOR_TRACEBACKS:
            raise
        began = isinstance(error, ENDED)
        sys.stderr.write(f"error: {_flat(error) if began else explain(error)}\n")
        sys.exit(1 if began else 2)
    except KeyboardInterrupt:  # outside a run, which says more (`zoomexp.interruption`)
        sys.stderr.write("stopped by Ctrl-C\n")
        sys.exit(130)


@contextlib.contextmanager
def building() -> Iterator[None]:
    """While an experiment is built every error is the user's: nothing has been written, and one line is enough."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(explain(error)) from error


def explain(error: BaseException) -> str:
    """One line that names the field and what is allowed.

    Hydra says "Could not override 'a.b'" or "Error in call to target" and hides the reason in the causes.
    """
    from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
    from omegaconf import DictConfig
    from omegaconf.errors import (
        ConfigAttributeError,
        ConfigKeyError,
        InterpolationKeyError,
        MissingMandatoryValue,
    )

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return _flat(cause)
        if isinstance(cause, OverrideParseException):
            return f"'{cause.override}' is no option and its value; allowed: name=value, what is special in quotes"
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file and not cause.options:
            return f"{cause.missing_cfg_file}: no such choice; allowed: {', '.join(_choices(cause))}"
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
            allowed = ", ".join(str(name) for name in cause.parent_node if not str(name).startswith("_"))
            return f"{cause.full_key or cause.key}: no such option; allowed: {allowed}"
        if isinstance(cause, MissingMandatoryValue):
            return f"{cause.full_key}: must be given, for example {cause.full_key}=..."
        if isinstance(cause, InterpolationKeyError) and (missing := re.search(r"key '(\S+)' not found", str(cause))):
            made = cause.full_key or "the command line"
            return f"{missing[1]}: must be given, since {made} is made of it; for example +{missing[1]}=..."
        cause = cause.__cause__
    if isinstance(error, InstantiationException):
        return _of_target(error)
    text = _call(error) or _flat(error).split(" Config search path:")[0]
    if _of_hydra(error):
        text, _, key = text.partition(" full_key: ")
        text = re.sub(r"^\w+ raised while resolving interpolation: ", "", text)
        return f"{key.split()[0]}: {text}" if key else text
    return text if _call(error) else f"{type(error).__name__}: {text}"


def _choices(error: BaseException) -> list[str]:
    """What stands beside the config that is missing, or beside its folder if that is missing, too."""
    folders = [Path(path) for path in re.findall(r"path=file://([^\s,)]+)", str(error))]
    group = Path(error.missing_cfg_file).parent
    while group.name and not any((folder / group).is_dir() for folder in folders):
        group = group.parent
    beside = sorted(path for folder in folders for path in (folder / group).glob("*"))
    return [f"{path.name}/..." if path.is_dir() else path.stem for path in beside]


def _of_target(error: BaseException) -> str:
    """What went wrong where Hydra called what a config names: led by the option, without Hydra's own words."""
    text, _, key = _flat(error).partition(" full_key: ")
    if target := re.search(r"(?:locating target|callable target, got) ('.*?')(?:,| of type)", text):
        return f"{key}._target_={target[1]}: no such class or function"
    text = text if error.__cause__ is None else _call(error.__cause__) or _flat(error.__cause__)
    return f"{key or 'config'}: {text}"


def _call(error: BaseException) -> str | None:
    """A call with the wrong arguments, in the words of options."""
    if missing := re.search(r"missing \d+ required [\w-]+ arguments?: (.*)", _flat(error)):
        return f"{missing[1]}: must be given"
    if unknown := re.search(r"got an unexpected keyword argument ('\w+')", _flat(error)):
        return f"{unknown[1]}: no such option"
    return None


def _of_hydra(error: BaseException) -> bool:
    return type(error).__module__.startswith(("hydra", "omegaconf"))


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())
