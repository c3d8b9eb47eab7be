"""A run's checkpoint, read without running what it holds, and its weights in a network of the same kind.

The last layer may be of other classes.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoomexp.backbones.start_weights import StartWeights, say_start_weights
from zoomexp.errors import InputError
from zoomexp.metrics.declared import TEMPERATURE
from zoomexp.weights.fitting import head_names, some
from zoomexp.weights.starting import say


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint holds, on the CPU: tensors and plain objects; anything else is refused.

    Raises:
        FileNotFoundError: there is none.
        Exception: it is damaged, or holds more; torch and zipfile have many types for it.
    """
    with zipfile.ZipFile(path) as parts:
        if damaged := parts.testzip():  # torch does not compare the checksums
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def load_weights(
    net: nn.Module, checkpoint: str | Path | None, num_classes: int | None = None, new_head: bool = False
) -> None:
    """Start from the weights of a checkpoint of the same network; its `start_weights` then says so.

    Args:
        net: Changed in place.
        checkpoint: A `.ckpt` file of a run folder; None changes nothing.
        num_classes: The network's. Tensors with one row a class, of a run with another number of classes, are left out
            and stay as they are, and one line says so. None: every tensor must fit.
        new_head: Leave them out although the numbers are equal: the classes are others.

    Raises:
        InputError: If the file is missing, unreadable or of another network.
    """
    if checkpoint is None:
        return
    if not isinstance(checkpoint, str | Path):
        raise InputError(f"checkpoint={checkpoint} must be a .ckpt file of a run folder, or null")
    try:
        whole = read_checkpoint(checkpoint)
        stored = whole["state_dict"]
    except FileNotFoundError as error:
        raise InputError(
            f"checkpoint={checkpoint}: no such file; name a .ckpt file of a run folder, or null"
        ) from error
    except Exception as error:  # torch has many ways to say that a file is no checkpoint
        raise InputError(
            f"checkpoint={checkpoint}: not a readable checkpoint of a run ({type(error).__name__}); weights of other "
            "programs are backbone.weights=FILE"
        ) from error
    own = net.state_dict()
    weights = {key.removeprefix("model."): value for key, value in stored.items() if key.startswith("model.")}
    anew: dict[str, int | None] = {**class_rows(own, weights, num_classes)}
    if new_head:
        anew |= {name: num_classes for name in own if name.rpartition(".")[0] in head_names(net)}
    differing = [key for key in (own.keys() | weights.keys()) - anew.keys()
                 if key not in own or key not in weights or own[key].shape != weights[key].shape]  # fmt: skip
    if differing:
        raise InputError(
            f"checkpoint={checkpoint}: of another model; {len(differing)} of {len(own)} tensors differ, "
            f"for example {min(differing)}"
        )
    net.load_state_dict(weights | {name: own[name] for name in anew})
    kept = None if anew else whole.get(TEMPERATURE.key)
    say_start_weights(net, StartWeights(str(checkpoint), classifier=not anew, by_run=True, temperature=kept))
    if anew:
        before = "others" if new_head else f"{next(iter(anew.values()))} there"
        say(f"checkpoint {checkpoint}: classes are {before}, {num_classes} here; new {some(sorted(anew))}")


def class_rows(own: dict[str, Tensor], stored: dict[str, Tensor], num_classes: int | None) -> dict[str, int]:
    """The tensors with one row a class, where the numbers of classes differ, and the stored number.

    Args:
        own: A network's tensors.
        stored: Those of a checkpoint.
        num_classes: The network's; None: no tensor may differ.
    """
    found = {}
    for name, value in own.items():
        given = stored.get(name)
        alike = given is not None and given.dim() == value.dim() > 0 and given.shape[1:] == value.shape[1:]
        if num_classes and given is not None and alike and len(value) == num_classes != len(given):
            found[name] = len(given)
    return found if len(set(found.values())) == 1 else {}  # one number of classes, or it is another network
