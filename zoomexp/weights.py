"""Weights out of checkpoints, read without running what they hold."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoomexp.errors import InputError


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint holds, on the CPU: tensors and plain objects; anything else is refused.

    Raises:
        FileNotFoundError: there is none.
        Exception: it is damaged, or holds more; torch and zipfile have many types for it.
    """
    with zipfile.ZipFile(path) as parts:
        if damaged := parts.testzip():  # torch does not compare the checksums
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    return torch.load(path, map_location="cpu", weights_only=True)


def load_weights(net: nn.Module, checkpoint: str | Path | None) -> None:
    """Start from the weights of a checkpoint of the same network.

    Raises:
        InputError: If the file is missing, unreadable or of another network.
    """
    if checkpoint is None:
        return
    if not isinstance(checkpoint, str | Path):
        raise InputError(f"checkpoint={checkpoint} must be a .ckpt file of a run folder, or null")
    try:
        stored = read_checkpoint(checkpoint)["state_dict"]
    except FileNotFoundError as error:
        raise InputError(
            f"checkpoint={checkpoint}: no such file; name a .ckpt file of a run folder, or null"
        ) from error
    except Exception as error:  # torch has many ways to say that a file is no checkpoint
        raise InputError(f"checkpoint={checkpoint}: not a readable checkpoint ({type(error).__name__})") from error
    own = net.state_dict()
    weights = {key.removeprefix("model."): value for key, value in stored.items() if key.startswith("model.")}
    differing = [key for key in own.keys() | weights.keys()
                 if key not in own or key not in weights or own[key].shape != weights[key].shape]  # fmt: skip
    if differing:
        raise InputError(
            f"checkpoint={checkpoint}: of another model; {len(differing)} of {len(own)} tensors differ, "
            f"for example {min(differing)}"
        )
    net.load_state_dict(weights)
