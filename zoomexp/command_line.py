"""Entry points' manners: a user's mistake is one line and exit code 2, never a traceback, and answered at once."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from zoomexp.errors import InputError


def run_command(main: Callable[[], None], program: str) -> None:
    """Run a Hydra entry point and exit with 0, with 2 after bad input, or with 1 after a failed run.

    Args:
        main: The function that `hydra.main` decorates.
        program: Leads the error line.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them and exiting
    try:
        main()
    except (InputError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        sys.stderr.write(f"{program}: error: {explain(error)}\n")
        sys.exit(2)


@contextlib.contextmanager
def building() -> Iterator[None]:
    """While an experiment is built, every error is the user's: nothing has been written, and one line is enough.

    `HYDRA_FULL_ERROR=1` shows the traceback.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(explain(error)) from error


def explain(error: BaseException) -> str:
    """One line that names the field and what is allowed.

    Hydra says "Could not override 'a.b'" and hides the reason in the cause; the cause knows the keys that exist.
    """
    from omegaconf import DictConfig
    from omegaconf.errors import ConfigKeyError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return " ".join(str(cause).split())
        if isinstance(cause, ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
            parent, key = cause.parent_node, cause.full_key or cause.key
            allowed = ", ".join(str(name) for name in parent if not str(name).startswith("_"))
            return f"{key}: no such option; allowed: {allowed}"
        cause = cause.__cause__
    return " ".join(str(error).split())
