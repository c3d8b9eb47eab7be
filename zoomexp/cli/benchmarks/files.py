"""Training batches of JPEG files: this project's loader against torchvision's, and against decoding and resizing alone.

The limit is what turns a file into a batch at all, whole images decoded and resized; on a GPU by torchvision's decoder
there, a batch at a time. All sides read the same files, drawn here, from the system's cache.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from zoomexp.cli.benchmarks.data import drain
from zoomexp.cli.benchmarks.machine import pick_device
from zoomexp.cli.script_options import whole_numbers
from zoomexp.errors import InputError
from zoomexp.metrics.speed import interleaved, ratio
from zoomexp.results.provenance import processor
from zoomexp.run.build import make
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building

OPTIONS = {"images": "256", "side": "500", "workers": "0", "rounds": "5"}
SHAPE = 3 / 4  # height to width, as of most photographs


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Time an epoch of each side, in turn."""
    count, side, rounds = whole_numbers(options, "images", "side", "rounds")
    if not options["workers"].isdigit():
        raise InputError(f"workers={options['workers']} must be a whole number, at least 0")
    workers = int(options["workers"])
    with tempfile.TemporaryDirectory(prefix="files-") as folder:
        draw(Path(folder) / "images" / "train", count, side)
        own = [
            f"data_dir={folder}",
            f"dataset.num_workers={workers}",
            "dataset.val_fraction=0",
            "dataset.test_fraction=0.05",
        ]
        with building():
            cfg = compose_run(
                ["dataset=image_folder", "dataset.batch_size=64", "dataset.image_size=224", *overrides, *own]
            ).cfg
            data = make(cfg.dataset)
            data.prepare_data()
            data.setup("fit")
        if not len(loader := data.train_dataloader()):
            raise InputError(f"images={count} leave no batch of {data.batch_size}")
        sides: dict[str, Callable[[], None]] = {
            "this project": partial(drain, loader),
            "torchvision, PIL": partial(drain, torchvision_loader(data, workers)),
        }
        sides |= decoders(data, workers)
        times = timed(sides, rounds, workers)
    return told(times, len(loader) * data.batch_size, f"{side} pixels to {data.image_size}, {workers} workers", rounds)


def draw(folder: Path, count: int, side: int) -> None:
    """Write JPEGs of two classes: soft shapes and grain, of a photograph's size in bytes."""
    random = np.random.default_rng(0)
    for place in range(count):
        shapes = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        pixels = np.asarray(shapes.resize((side, round(SHAPE * side)), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels += random.normal(0, 8, pixels.shape).astype(np.int16)
        path = folder / ("a", "b")[place % 2] / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def torchvision_loader(data: Any, workers: int) -> DataLoader[Any]:
    """The same augmentation as most training scripts write it."""
    from torchvision import datasets, transforms

    look = transforms.Compose([
        transforms.RandomResizedCrop(data.image_size, scale=data.train_scale), transforms.RandomHorizontalFlip(),
        transforms.ToTensor(), transforms.Normalize(data.mean, data.std),
    ])  # fmt: skip
    images = Subset(datasets.ImageFolder(data.part("train").root, look), range(len(data.part("train"))))  # as many
    return DataLoader(images, data.batch_size, shuffle=True, drop_last=True, num_workers=workers)


def decoders(data: Any, workers: int) -> dict[str, Callable[[], None]]:
    """Decoding and resizing whole images alone: by Pillow and torchvision in this process, and on a GPU where one is.

    Torchvision's decoder is left out where its library cannot be loaded, as beside a torch of another build.
    """
    files = data.part("train")
    paths = [str(files.path(place)) for place in range(len(files) // data.batch_size * data.batch_size)]
    batches = [paths[start : start + data.batch_size] for start in range(0, len(paths), data.batch_size)]
    found: dict[str, Callable[[], None]] = (
        {} if workers else {"Pillow, decode and resize": partial(by_pillow, batches, data.image_size)}
    )
    if not hasattr(torch.ops.image, "decode_jpeg"):
        print("torchvision's decoder cannot be loaded here, and is left out")
    elif not workers:
        found["torchvision, decode and resize"] = partial(by_torchvision, batches, data.image_size, "cpu")
    if hasattr(torch.ops.image, "decode_jpegs_cuda") and pick_device().type == "cuda":
        found["torchvision, decode and resize on the GPU"] = partial(by_torchvision, batches, data.image_size, "cuda")
    return found


def by_pillow(batches: Iterable[list[str]], side: int) -> None:
    """Read, decode and resize every file."""
    for paths in batches:
        opened = (Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR) for path in paths)
        torch.stack([torch.from_numpy(np.array(image)) for image in opened])


def by_torchvision(batches: Iterable[list[str]], side: int, device: str) -> None:
    """Read, decode and resize every file."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2.functional import resize

    for paths in batches:
        images = decode_jpeg([read_file(path) for path in paths], ImageReadMode.RGB, device)
        torch.stack([resize(image, [side, side], antialias=True) for image in images])


def timed(sides: Mapping[str, Callable[[], None]], rounds: int, workers: int) -> dict[str, list[float]]:
    """Seconds of each side and round: CPU time in one process, wall time where others work or a GPU does."""
    if not workers and pick_device().type == "cpu":
        return interleaved(sides, rounds, torch.device("cpu"))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            if pick_device().type == "cuda":
                torch.cuda.synchronize()
            times[name] += [time.perf_counter() - started] if turn else []  # the first starts processes and decoders
    return times


def told(times: Mapping[str, list[float]], images: int, what: str, rounds: int) -> list[dict[str, Any]]:
    """Print and return a row per side, with this project's speed in units of its."""
    ours, rows = times["this project"], []
    for name, seconds in times.items():
        middle, least, most = ratio(seconds, ours)
        rows.append(
            {"name": name, "img_per_s": images / median(seconds), "ratio": middle, "least": least, "most": most}
        )
        spread = f"{middle:.2f} times (from {least:.2f} to {most:.2f})"
        print(f"{name}: {rows[-1]['img_per_s']:,.0f} images/s, this project {spread}")
    print(f"{what}, {processor()}, {rounds} rounds")
    return rows
