"""Entry points' manners: a user's mistake is one line and exit code 2, never a traceback, and answered at once."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator

from zoomexp.errors import DivergedError, InputError

ASKED_FOR_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


def run_command(main: Callable[[], None]) -> None:
    """Run a Hydra entry point; what is wrong with the command line itself is said in one line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them and exiting with 1
    with reported():
        main()


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn bad input into one line and exit code 2, a diverged loss into one line and exit code 1.

    `HYDRA_FULL_ERROR=1` in the environment shows the traceback.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (InputError, DivergedError, HydraException, OmegaConfBaseException) as error:
        if ASKED_FOR_TRACEBACKS:
            raise
        diverged = isinstance(error, DivergedError)
        sys.stderr.write(f"error: {_flat(error) if diverged else explain(error)}\n")
        sys.exit(1 if diverged else 2)


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
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
            allowed = ", ".join(str(name) for name in cause.parent_node if not str(name).startswith("_"))
            return f"{cause.full_key or cause.key}: no such option; allowed: {allowed}"
        if isinstance(cause, MissingMandatoryValue):
            return f"{cause.full_key}: must be given, for example {cause.full_key}=..."
        if isinstance(cause, InterpolationKeyError) and (missing := re.search(r"key '(\S+)' not found", str(cause))):
            return f"{missing[1]}: must be given, since {cause.full_key} is made of it; for example +{missing[1]}=..."
        cause = cause.__cause__
    text = _flat(error).split(" Config search path:")[0]
    return text if type(error).__module__.startswith(("hydra", "omegaconf")) else f"{type(error).__name__}: {text}"


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())
