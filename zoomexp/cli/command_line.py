"""How a command ends: a user's mistake is one line and exit code 2, never a traceback, and answered at once."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from zoomexp.errors import DivergedError, FaultError, InputError, NotLearningError
from zoomexp.run.explain import explain, flat

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
    parser.error = refuse  # type: ignore[assignment, method-assign]  # else it prints its own usage and exits
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
        raise InputError(f"the options do not compose: {flat(error)}") from error


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
        sys.stderr.write(f"error: {flat(error) if began else explain(error)}\n")
        sys.exit(1 if began else 2)
    except KeyboardInterrupt:  # outside a run, which says more (`zoomexp.run.interruption`)
        sys.stderr.write("stopped by Ctrl-C\n")
        sys.exit(130)
