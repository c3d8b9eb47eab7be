"""Weights from a file, a folder or the Hugging Face hub as named tensors; no pickle that could run code is opened."""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoomexp.errors import InputError

HUB = ("hf-hub:", "hf_hub:")
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")  # .tar: of .pth.tar
# A folder's file if it has several: the first of these, as on the Hugging Face hub.
PREFERRED = ("model.safetensors", "pytorch_model.bin", "model.pth", "model.pt")
# Under which names checkpoints keep the tensors, averaged ones before those of the last step.
WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model", "net", "network",
    "teacher", "student", "module",
)  # fmt: skip
ALLOWED = f"a file ({', '.join(SUFFIXES[:-1])}), a folder with one, or hf-hub:owner/model"


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors by name as a file has them.

    Args:
        name: What to call them in a message.
        tensors: On the CPU.
        kept_as: The entry of the checkpoint that they are; "" for the whole file.
    """

    name: str
    tensors: dict[str, Tensor]
    kept_as: str = ""


def read_weights(source: str, option: str) -> Weights:
    """Read the weights that `source` names.

    Args:
        source: A file, a folder or `hf-hub:owner/model[@revision]`.
        option: The option that named it, for messages.

    Raises:
        InputError: There is no such file, it cannot be read, or it holds more than tensors and plain values.
    """
    if not isinstance(source, str) or not source:
        raise InputError(f"{option}={source!r} must be {ALLOWED}, or null")
    if source.startswith(HUB):
        return _read_file(_of_hub(source, option), source, option)
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_file(_file_in(path, option), source, option)
    if not path.is_file():
        raise InputError(f"{option}={source}: no such file or folder; name {ALLOWED}")
    return _read_file(path, source, option)


def config_of(source: object) -> Mapping[str, Any]:
    """The `config.json` (timm's) of a folder or of the hub; nothing of a file, or where none can be read."""
    if not isinstance(source, str):
        return {}
    try:
        path = _fetched(source, "config.json") if source.startswith(HUB) else Path(source).expanduser() / "config.json"
        found = json.loads(path.read_text()) if path else {}
    except Exception:  # no network, no JSON: reading the weights themselves says what is wrong with them
        return {}
    return found if isinstance(found, dict) else {}


def _file_in(folder: Path, option: str) -> Path:
    """The one file of a folder, or the one that the hub's conventions prefer."""
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    named = [folder / name for name in PREFERRED if folder / name in files]
    if not files:
        raise InputError(f"{option}={folder}: no weights in this folder; name {ALLOWED}")
    if not named and len(files) > 1:
        raise InputError(f"{option}={folder}: has {', '.join(file.name for file in files)}; name one of them")
    return named[0] if named else files[0]


def _of_hub(source: str, option: str) -> Path:
    try:
        found = next((file for name in PREFERRED if (file := _fetched(source, name, name == PREFERRED[-1]))), None)
    except Exception as error:  # no network, no such model, a model behind a licence: the hub has many types for it
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{option}={source}: cannot be had from the Hugging Face hub here ({reason})") from error
    if found is None:
        raise InputError(f"{option}={source}: the model has none of {', '.join(PREFERRED)}")
    return found


def _fetched(source: str, name: str, last: bool = False) -> Path | None:
    """A file of a model on the hub; None where it has none, or cannot be reached unless it is the `last` to try."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    model, _, revision = source.partition(":")[2].partition("@")
    try:
        return Path(hf_hub_download(model, name, revision=revision or None))
    except LocalEntryNotFoundError:  # the hub cannot be reached, and nothing is kept of the file
        if last:
            raise
    except EntryNotFoundError:
        pass
    return None


def _read_file(path: Path, source: str, option: str) -> Weights:
    if path.suffix not in SUFFIXES:
        raise InputError(f"{option}={source}: {path.suffix or 'a file without suffix'} is unknown; name {ALLOWED}")
    tensors, kept_as = _unwrapped(_loaded(path, source, option))
    if not tensors:
        raise InputError(f"{option}={source}: holds no tensors by name")
    return Weights(source if source.startswith(HUB) else path.name, tensors, kept_as)


def _loaded(path: Path, source: str, option: str) -> Any:
    read: Callable[[Path], Any]
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        read = load_file
    else:
        read = _load_pickle
    try:
        return read(path)
    except Exception as error:  # torch, zipfile, pickle and safetensors have many types for it
        if names := _code(path):
            only = "save its state_dict alone: torch.save(model.state_dict(), FILE)"
            raise InputError(
                f"{option}={source}: is a pickle that would run code ({', '.join(names)}); {only}"
            ) from error
        raise InputError(f"{option}={source}: cannot be read as weights ({type(error).__name__})") from error


def _load_pickle(path: Path) -> Any:
    with torch.serialization.safe_globals([argparse.Namespace]):  # timm's checkpoints keep their options in one
        return torch.load(path, map_location="cpu", weights_only=True)


def _code(path: Path) -> list[str]:
    """The classes and functions beyond PyTorch's own that a pickle names; none where it cannot be read at all."""
    try:
        return [] if path.suffix == ".safetensors" else torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # damaged, or no pickle
        return []


def _unwrapped(found: Any) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint, and under which names it keeps them."""
    path: list[str] = []
    while isinstance(found, Mapping):
        tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        inner = next((name for name in WRAPPERS if isinstance(found.get(name), Mapping)), None)
        if inner is None or len(tensors) > 1:
            return tensors, ".".join(path)
        path.append(inner)
        found = found[inner]
    return {}, ""
