"""A teacher's maps of a whole data set, made once and kept on disk."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from zoomexp.relevance.host import grid_side
from zoomexp.relevance.normalisation import min_max
from zoomexp.relevance.store import MapWriter, Source, weights_hash

Method = Callable[[nn.Module, Tensor, Tensor], Tensor]


def map_file(folder: Path, method: Method, data: Any, part: str) -> Path:
    """Where the maps of a part of a data set lie: the same images find the same file."""
    return folder / f"{method_name(method)}-{data.name}-{data.part(part).fingerprint()}.npy"


def writer_for(path: Path, teacher: nn.Module, method: Method, data: Any, part: str) -> MapWriter:
    """Open, or continue, the file of maps.

    Args:
        path: see `map_file`.
        teacher: the ViT that explains.
        method: see `zoomexp.relevance`.
        data: the data module.
        part: "train", "val" or "test".

    Raises:
        InputError: The file there holds other maps.
    """
    *layers, side, _ = shape_of(method, teacher, data)
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (data.mean, data.std))
    source = Source(
        method=method_name(method),
        teacher=type(teacher).__name__,
        weights=weights_hash(teacher),
        dataset=dataset_name(data, part),
        transform=f"as test images, {data.image_size} pixels, mean {mean}, std {std}",
        normalisation="none" if layers else "min_max",
    )
    return MapWriter(path, source, images=len(data.part(part)), side=side, layers=layers)


def shape_of(method: Method, teacher: nn.Module, data: Any) -> tuple[int, ...]:
    """What a method makes of an image: (S, S) by the teacher's patches, or what it says itself, (layers, ..., S, S).

    Raises:
        InputError: a teacher that does not fit the images.
    """
    own = getattr(method, "shape", None)
    side = grid_side(teacher, data.image_size) if own is None else 0
    return (side, side) if own is None else own(teacher, data)


def extract(
    teacher: nn.Module,
    method: Method,
    data: Any,
    part: str,
    writer: MapWriter,
    *,
    batch_size: int,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[tuple[int, int]]:
    """Make the maps that are missing, in full precision, and write them batch by batch.

    Args:
        teacher: see `writer_for`.
        method: see `writer_for`.
        data: see `writer_for`.
        part: see `writer_for`.
        writer: where the maps go.
        batch_size: images a batch.
        shard: (k, n): of what is missing every n-th map, from the k-th on, so that n processes share the work.

    Yields:
        (maps done, maps to do) after each batch.
    """
    todo, done = writer.missing()[shard[0] :: shard[1]], 0
    if len(todo) == 0:
        return
    device = own_device(shard[0])
    teacher.to(device).float()
    for batch in data.plain_batches(part, todo, batch_size):
        maps = method(teacher, batch["image"].to(device), batch["label"].to(device))
        maps = min_max(maps) if maps.dim() == 3 else maps
        writer.write(todo[done : done + len(maps)], maps)
        done += len(maps)
        yield done, len(todo)
    teacher.cpu()  # the GPU's memory is for what is trained with the maps


def own_device(share: int) -> torch.device:
    """The GPU of this process, which may be one of several on the machine: by its rank there, or by its share."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", share)) % torch.cuda.device_count())


def ensure_maps(folder: Path, teacher: nn.Module, method: Method, data: Any, part: str, batch_size: int) -> Path:
    """Make what is missing of a part's maps, with a line on progress every few seconds; returns the file.

    A second process that wants the same maps waits.
    """
    path = map_file(folder, method, data, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        writer = writer_for(path, teacher, method, data, part)
        for line in told(extract(teacher, method, data, part, writer, batch_size=batch_size), f"maps {path.stem}"):
            print(line, flush=True)  # noqa: T201
    return path


def told(steps: Iterator[tuple[int, int]], what: str, every: float = 5.0) -> Iterator[str]:
    """Lines that say how far `steps` are, one every so many seconds."""
    started = said = time.perf_counter()
    for done, total in steps:
        now = time.perf_counter()
        if now - said >= every:
            left, said = (now - started) / done * (total - done), now
            yield f"{what}: {done} of {total}, {left // 60:.0f}:{left % 60:02.0f} left"


def method_name(method: Method) -> str:
    """What a method is called in file names."""
    return (method.func if isinstance(method, partial) else method).__name__


def dataset_name(data: Any, part: str) -> str:
    """What a file of maps says of its data set."""
    return f"{data.name} {data.part(part).fingerprint()}"


def positions(index: np.ndarray) -> np.ndarray:
    """Where in its part each `index` (N,) is: (max(index) + 1,) int64, -1 for one that is not in it."""
    found = np.full(int(index.max()) + 1, -1)
    found[index] = np.arange(len(index))
    return found
