"""W&B's modes; online, where it does not answer, the run is kept offline, and nothing waits."""

import os
import sys
from typing import TYPE_CHECKING

from zoomexp.arguments import one_of

if TYPE_CHECKING:  # imported where it is used: scripts ask for the defaults alone
    from pytorch_lightning.loggers import WandbLogger

MODES = ("online", "offline", "disabled", "shared")

# Seconds for W&B to begin a run, and to take what is left of it at the end; who has set them otherwise is heeded.
PATIENCE = {"WANDB_INIT_TIMEOUT": "20", "WANDB_FINISH_TIMEOUT": "300"}


def defaults() -> dict[str, str | None]:
    """Project, entity and mode where nobody types them: W&B's environment variables, else ours."""
    ours = {"project": "zoomexp", "entity": None, "mode": "offline"}
    return {name: os.environ.get(f"WANDB_{name.upper()}") or value for name, value in ours.items()}


def check_mode(mode: object) -> None:
    """Refuse a `logger.mode` that W&B does not know, before it does; None is one that is not given.

    Raises:
        InputError: Another one.
    """
    if mode is not None:
        one_of("logger.mode", mode, MODES)


def begin(logger: "WandbLogger", folder: str) -> None:
    """Begin the run of a logger that is to reach W&B; where that cannot be, make it offline and say so.

    Args:
        logger: not used yet.
        folder: where it keeps its files.
    """
    import wandb

    for name, seconds in PATIENCE.items():
        os.environ.setdefault(name, seconds)
    if logger._wandb_init.get("mode") not in ("online", "shared"):
        return
    try:
        _ = logger.experiment
    except wandb.Error as error:
        wandb.teardown()  # else the run that could not begin still counts as in use
        logger._wandb_init["mode"] = "offline"
        reason = str(error).splitlines()[0]
        sys.stderr.write(f"W&B cannot be used ({reason}): kept offline; upload it later: wandb sync {folder}/wandb/*\n")
