"""Training batches of a set in memory: this project's loader against torchvision's transforms on PIL images."""

from collections.abc import Iterable
from functools import partial
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoomexp.cli.script_options import whole_numbers
from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import ImageArrays
from zoomexp.errors import InputError
from zoomexp.metrics.speed import interleaved, ratio
from zoomexp.results.provenance import processor
from zoomexp.run.build import make
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building

OPTIONS = {"images": "5000", "rounds": "5"}


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Time an epoch of ours, and as many images of the other side, in turn."""
    count, rounds = whole_numbers(options, "images", "rounds")
    with building():
        data = make(compose_run(["dataset=cifar10", *overrides]).cfg.dataset)
        if not isinstance(data, ArrayDataModule):
            raise InputError(f"dataset: {type(data).__name__} streams from files; one in memory is needed")
        data.prepare_data()
        data.setup("fit")
    loaders: dict[str, Any] = {"this project": data.train_dataloader(), "torchvision, PIL": pil_loader(data, count)}
    if not all(map(len, loaders.values())):
        raise InputError(f"images={count} leave no batch of {data.batch_size}")
    times = interleaved({name: partial(drain, one) for name, one in loaders.items()}, rounds, torch.device("cpu"))
    each = {name: [s / (len(loaders[name]) * data.batch_size) for s in seconds] for name, seconds in times.items()}
    ours, theirs = each.values()
    middle, least, most = ratio(theirs, ours)
    print(f"ratio {middle:.1f} (from {least:.1f} to {most:.1f}, {rounds} rounds)")
    rows = [{"name": name, "us": 1e6 * median(s), "img_per_s": 1 / median(s)} for name, s in each.items()]
    for row in rows:
        print(f"{row['name']}: {row['us']:.2f} us an image, {row['img_per_s']:,.0f} img/s a core")
    print(f"{data.name}, batches of {data.batch_size}, {processor()}, one thread, CPU time, no workers")
    return [rows[0] | {"ratio": middle, "least": least, "most": most}, rows[1]]


def drain(loader: Iterable[Any]) -> None:
    """Take every batch of an epoch."""
    for _ in loader:
        pass


def pil_loader(data: ArrayDataModule, count: int) -> DataLoader[Any]:
    """The same augmentation as most training scripts write it, of the first `count` training images."""
    from torchvision import transforms

    arrays = cast(ImageArrays, data.part("train"))
    size = data.crop_size or arrays.images.shape[1]
    steps = [transforms.RandomCrop(size, padding=data.crop_padding or None)]
    steps += [transforms.RandomHorizontalFlip()] if data.flip else []
    steps += [transforms.Resize(data.target_size)] if data.target_size not in (None, size) else []
    steps += [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    pictures = Pictures(arrays.images[:count], arrays.labels[:count], transforms.Compose(steps))
    return DataLoader(pictures, batch_size=data.batch_size, shuffle=True, drop_last=True, num_workers=0)


class Pictures(Dataset[Any]):
    """Images (N, H, W, C) uint8 one by one, as torchvision's own sets give them."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Any) -> None:
        self.images, self.labels, self.transform = (
            images.squeeze(3) if images.shape[3] == 1 else images,
            labels,
            transform,
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])
