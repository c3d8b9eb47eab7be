"""W&B online: where it does not answer, the run is kept offline, and nothing waits."""

import os
import sys

from pytorch_lightning.loggers import WandbLogger

# Seconds for W&B to begin a run, and to take what is left of it at the end; who has set them otherwise is heeded.
PATIENCE = {"WANDB_INIT_TIMEOUT": "20", "WANDB_FINISH_TIMEOUT": "300"}


def begin(logger: WandbLogger, folder: str) -> None:
    """Begin the run of a logger that is to be online; where that cannot be, make it offline and say so.

    Args:
        logger: not used yet.
        folder: where it keeps its files.
    """
    import wandb

    for name, seconds in PATIENCE.items():
        os.environ.setdefault(name, seconds)
    if logger._wandb_init.get("mode") != "online":
        return
    try:
        _ = logger.experiment
    except wandb.Error as error:
        wandb.teardown()  # else the run that could not begin still counts as in use
        logger._wandb_init["mode"] = "offline"
        reason = str(error).splitlines()[0]
        sys.stderr.write(f"W&B cannot be used ({reason}): kept offline; upload it later: wandb sync {folder}/wandb/*\n")
