"""Relevance maps on disk: `<name>.npy`, one fp16 array (N, S, S), with `<name>.json` that says where they come from.

Map i belongs to image i of the data set in its own order. `<name>.done` holds one byte per map, set after the map is
on disk: a killed extraction continues with the maps that have none, in batches of any size, and processes that write
different maps share one file. Maps may have several layers: (N, ..., S, S).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from zoomexp.atomic_file import write_text
from zoomexp.errors import InputError

Mode = Literal["r", "r+"]  # to read, or to read and write


@dataclass(frozen=True)
class Source:
    """Where maps come from; two files mix only if all of it agrees.

    Args:
        method: "lrp", "grad_attn", ...
        teacher: name of the model.
        weights: `weights_hash` of it.
        dataset: name of the data set and its split.
        transform: what the teacher saw of an image, in words.
        normalisation: "min_max" or "none". fp16 holds unnormalised maps badly, whose values may lie below 1e-5.
    """

    method: str
    teacher: str
    weights: str
    dataset: str
    transform: str
    normalisation: str


class MapWriter:
    """A file of maps being filled.

    Args:
        path: the `.npy` file; what exists there is continued.
        source: where the maps come from.
        images: N, the number of images in the data set.
        side: S.
        layers: of maps (*layers, S, S); none: (S, S).

    Raises:
        InputError: the file there holds maps of another source, number or side.
    """

    def __init__(self, path: Path, source: Source, images: int, side: int, layers: Sequence[int] = ()) -> None:
        facts = asdict(source) | {"images": images, "side": side} | ({"layers": list(layers)} if layers else {})
        if _beside(path, ".json").exists():
            _refuse_other(path, _facts(path), facts)
        else:
            _create(path, facts)
        self._maps, self._done = _maps(path, facts, "r+"), _done(path, facts, "r+")

    def missing(self) -> np.ndarray:
        """The numbers of the images that have no map yet, ascending, int64."""
        return np.flatnonzero(self._done == 0)

    def write(self, indices: Sequence[int] | np.ndarray | Tensor, maps: Tensor) -> None:
        """Write maps (B, *layers, S, S) of the images `indices` (B,); they count as finished once they are on disk.

        Raises:
            InputError: maps of another shape, or not finite in fp16.
        """
        indices, values = np.asarray(indices), maps.detach().to("cpu", torch.float16).numpy()
        if values.shape != (len(indices), *self._maps.shape[1:]):
            raise InputError(f"maps: S must be {self._maps.shape[1]}, got maps of shape {tuple(maps.shape)}")
        if not np.isfinite(values).all():
            raise InputError("maps: a map is not finite in half precision; normalise it first")
        self._maps[indices] = values
        self._maps.flush()
        self._done[indices] = 1
        self._done.flush()


class MapReader:
    """The finished maps of one data set, memory-mapped.

    Args:
        path: the `.npy` file.
        dataset: the data set (as in `Source`) that the maps must be of.
        images: the number of images it has.
        side: S that the maps must have; None: any.

    Raises:
        InputError: no such file, one of another data set, number or side, or one that is not finished.
    """

    def __init__(self, path: Path, dataset: str, images: int, side: int | None = None) -> None:
        if not _beside(path, ".json").exists() or not path.exists():
            raise InputError(f"maps: no file {path} with a {path.stem}.json beside it; extract the maps first")
        facts = _facts(path)
        wanted = {"dataset": dataset, "images": images} | ({} if side is None else {"side": side})
        _refuse_other(path, facts, wanted)
        left = int((_done(path, facts, "r") == 0).sum())
        if left:
            raise InputError(f"maps: {path} is not finished, {left} of {images} maps are missing; extract them first")
        self.facts = facts
        self._maps = np.asarray(_maps(path, facts, "r"))

    def __len__(self) -> int:
        return len(self._maps)

    def read(self, indices: np.ndarray | Tensor) -> Tensor:
        """The maps of images `indices` (B,) int64: (B, *layers, S, S) fp16, a copy."""
        return torch.from_numpy(self._maps[np.asarray(indices)])


def weights_hash(model: nn.Module) -> str:
    """16 hex digits of the model's state dict: names, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _create(path: Path, facts: dict[str, Any]) -> None:
    """Make the files, filled with zeros; the JSON last, since it says that the others are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = _shape(facts)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape).flush()
    np.memmap(_beside(path, ".done"), mode="w+", dtype=np.uint8, shape=(facts["images"],)).flush()
    write_text(_beside(path, ".json"), json.dumps(facts, indent=2) + "\n")


def _facts(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_beside(path, ".json").read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"maps: {_beside(path, '.json')} is damaged; delete it and extract the maps again") from error


def _refuse_other(path: Path, facts: dict[str, Any], wanted: dict[str, Any]) -> None:
    for field, value in wanted.items():
        if facts.get(field) != value:
            raise InputError(f"maps: {path} has {field} {facts.get(field)!r}, wanted {value!r}; take another file")


def _maps(path: Path, facts: dict[str, Any], mode: Mode) -> np.memmap:
    shape = _shape(facts)
    try:
        maps: np.memmap = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"maps: {path} is missing or damaged; delete its .json and extract the maps again") from error
    if maps.shape != shape or maps.dtype != np.float16:
        raise InputError(f"maps: {path} holds {maps.dtype} {maps.shape}, wanted float16 {shape}")
    return maps


def _shape(facts: dict[str, Any]) -> tuple[int, ...]:
    return (facts["images"], *facts.get("layers", ()), facts["side"], facts["side"])


def _done(path: Path, facts: dict[str, Any], mode: Mode) -> np.memmap:
    marker = _beside(path, ".done")
    if not marker.exists() or marker.stat().st_size != facts["images"]:
        raise InputError(f"maps: {marker} is missing or damaged; delete the .json and extract the maps again")
    return np.memmap(marker, mode=mode, dtype=np.uint8)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_suffix(suffix)
