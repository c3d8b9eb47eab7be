"""Batches from image arrays: one gather of whole pixels, with crop and flip folded into its index.

No worker processes: for images that are in memory already they cost more than the work. Everything, augmentation
included, happens on the device that holds the arrays.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoomexp.datasets.arrays import ImageArrays
from zoomexp.errors import InputError


class EpochSampler:
    """Holds the epoch; Lightning calls `loader.sampler.set_epoch(epoch)` before each one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (at least 0) whose order and augmentation the next iteration uses."""
        self.epoch = epoch

    def generator(self) -> torch.Generator:
        """Return a fresh CPU generator that depends on (seed, epoch) only."""
        state = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0]) >> 1)


def share_of_batch(batch_size: int, world_size: int) -> int:
    """How many of a training batch's images each process gets, so that together they see the batch that one would.

    Raises:
        InputError: They cannot get equally many; then the mean of their gradients were not that of the batch.
    """
    if batch_size % world_size:
        allowed = f"a multiple of the {world_size} processes that share each batch (trainer.devices)"
        raise InputError(f"dataset.batch_size={batch_size} must be {allowed}")
    return batch_size // world_size


def smallest(shard: int, batch_size: int, drop_last: bool) -> int:
    """How many of `shard` images the smallest training batch has.

    >>> smallest(50_000, 128, drop_last=False), smallest(50_000, 128, drop_last=True)
    (80, 128)
    """
    return batch_size if drop_last else shard % batch_size or batch_size


def too_large(share: int, size: int, world_size: int) -> InputError:
    """The error of a training batch, `share` images on each process, that is larger than a set of `size` images."""
    most = size - size % world_size
    told = f"is larger than the {size} training images; at most {most}"
    return InputError(f"dataset.batch_size={share * world_size} {told}")


def check_eval_batch(batch_size: int, size: int, world_size: int) -> None:
    """Refuse evaluation batches of which one process would have one more than another has images.

    Raises:
        InputError: single images of a set that does not divide by the processes.
    """
    if batch_size == 1 and size % world_size:
        raise InputError(f"dataset.eval_batch_size=1 must be at least 2 with {size} images on {world_size} processes")


class EpochPlan(NamedTuple):
    """What an epoch does with N images, drawn before it begins and uploaded once.

    Attributes:
        starts: (N,) the pixel at which each image's crop begins.
        flips: (N,) int64, 1 where it is mirrored.
        shifts: (N, 4) int64, by how much its boxes move, in pixels.
        order: (M,) int64, the images of this process in the order of the batches.
    """

    starts: Tensor
    flips: Tensor
    shifts: Tensor
    order: Tensor


class ArrayLoader:
    """Iterates over batches of `arrays`; a plain loop calls `loader.sampler.set_epoch(epoch)` itself.

    A batch is a dict: image (B, C, S, S) float32, channels-last in memory; label (B,) int64; index (B,) int64, the
    position in the split; box (B, 4) float32, x0, y0, x1, y1 in pixels of `image`, if the arrays have boxes; and, if
    asked for, view (B, 3, 3) float32, which moves points of the image seen whole onto `image`, both in its pixels.
    Which crop and flip an image gets depends on (seed, epoch, its place in `arrays`), not on batch size or rank.

    Args:
        arrays: the images, N of them.
        batch_size: images a batch, per process (`share_of_batch` says how many that are).
        mean, std: C values each on the scale 0..1; image = (pixel / 255 - mean) / std.
        crop_padding: black pixels on every side, from which a random crop is cut.
        crop_size: the crop's side in pixels; None: the images' own size.
        flip: mirror left-right, half the time.
        image_size: side to resize to, None: no resizing.
        interpolation: how, "bilinear" or "bicubic", with anti-aliasing where images become smaller.
        shuffle: training: a new order each epoch, and every process gets as many images (up to `world_size` - 1 are
            left out); otherwise the processes' shards hold every image exactly once, in as many batches each.
        drop_last: leave out a last batch that is not full.
        seed: at least 0.
        rank, world_size: this process's place among those that share the work.
        device: where the arrays are kept.
        views: add `view` to the batches.

    Attributes:
        hand_over: makes the batches of an epoch's plan instead of the loader, where it is set.

    Raises:
        InputError: a training batch larger than the set, a crop larger than the padded image (or, with `views`, of
            another size than the image), fewer images than processes, or `mean` and `std` that do not fit the channels.
    """

    size: int  # N

    def __init__(
        self,
        arrays: ImageArrays,
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int = 0,
        crop_size: int | None = None,
        flip: bool = False,
        image_size: int | None = None,
        interpolation: str = "bilinear",
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        views: bool = False,
    ) -> None:
        self.sampler, self.batch_sampler = EpochSampler(seed), None  # Lightning looks at both
        self.device = torch.device(device)
        self.hand_over: Callable[[EpochPlan], Iterator[Any]] | None = None
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.rank, self.world_size, self.interpolation = rank, world_size, interpolation
        self.flip, self.image_size, self.padding, self.views = flip, image_size, crop_padding, views
        self.size, height, width, channels = arrays.images.shape
        self._check(channels, mean, std)
        self._height, self._width = height + 2 * crop_padding, width + 2 * crop_padding
        self._crop = (crop_size, crop_size) if crop_size else (height, width)
        if self._crop[0] > self._height or self._crop[1] > self._width:
            most = min(self._height, self._width)
            raise InputError(f"dataset.crop_size={crop_size} is larger than the padded image; at most {most}")
        if views and image_size is None and self._crop != (height, width):
            own = "with relevance maps a crop has the images' own size, or image_size is set"
            raise InputError(f"dataset.crop_size={crop_size}: {own}")
        self._keep(arrays, self.device)
        self._affine(np.asarray(mean), np.asarray(std), self.device)

    def __len__(self) -> int:
        """Return the number of batches an epoch, the same on every rank."""
        if self.shuffle:
            shard = self.size // self.world_size
            return shard // self.batch_size if self.drop_last else math.ceil(shard / self.batch_size)
        if self.drop_last:
            return self.size // self.world_size // self.batch_size
        return math.ceil(math.ceil(self.size / self.world_size) / self.batch_size)

    @property
    def smallest_batch(self) -> int:
        """Images in the smallest training batch of this process."""
        return smallest(self.size // self.world_size, self.batch_size, self.drop_last)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield one epoch's batches; the epoch is read when the first batch is asked for."""
        plan = self._plan()
        if self.hand_over is not None:
            yield from self.hand_over(plan)
            return
        for chosen in self._cut(plan.order):
            yield self.batch(plan, chosen)

    def batch(self, plan: EpochPlan, chosen: Tensor) -> dict[str, Tensor]:
        """Return the batch of the images at places `chosen` (B,) int64, as an epoch's plan has them."""
        flipped = plan.flips[chosen]
        batch = {"image": self._images(plan.starts[chosen], flipped)}
        batch |= {"label": self._labels[chosen], "index": self._index[chosen]}
        if self._boxes is not None:
            batch["box"] = self._move(self._boxes[chosen] + plan.shifts[chosen], flipped)
        if self.views:
            batch["view"] = self._view(plan.shifts[chosen, :2], flipped)
        return batch

    def _plan(self) -> EpochPlan:
        """Draw the epoch's order, crops and flips, and put them on the device."""
        generator = self.sampler.generator()
        order = torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size)
        tops, lefts, flips = self._draw(generator)
        starts = (torch.arange(self.size) * self._height + tops) * self._width + lefts
        shifts = self.padding - torch.stack([lefts, tops, lefts, tops], dim=1)
        starts = starts.to(self.device, self._grids.dtype)
        return EpochPlan(starts, *(part.to(self.device) for part in (flips, shifts, self._shard(order))))

    def _check(self, channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
        for field, values in {"mean": mean, "std": std}.items():
            if len(values) != channels:
                raise InputError(f"dataset.{field} has {len(values)} values; these images have {channels} channels")
        shard = self.size // self.world_size
        if shard == 0:
            raise InputError(f"trainer.devices: {self.size} images cannot be shared by {self.world_size} processes")
        if self.shuffle and self.batch_size > shard:
            raise too_large(self.batch_size, self.size, self.world_size)
        if not self.shuffle:
            check_eval_batch(self.batch_size, self.size, self.world_size)

    def _keep(self, arrays: ImageArrays, device: torch.device) -> None:
        """Put the padded images, as (N * H * W, C) pixels, and everything else on the device."""
        pad, (height, width) = self.padding, self._crop
        images = functional.pad(torch.from_numpy(arrays.images), (0, 0, pad, pad, pad, pad))
        self._pixels = images.view(-1, images.shape[-1]).to(device)
        self._labels = torch.from_numpy(arrays.labels).to(device)
        self._index = torch.from_numpy(arrays.index).to(device)
        self._boxes = None if arrays.boxes is None else torch.from_numpy(arrays.boxes).to(device)
        self._edges = torch.tensor([width, height, width, height], dtype=torch.float32, device=device)
        grid = torch.arange(height)[:, None] * self._width + torch.arange(width)
        both = torch.stack([grid.flatten(), grid.flip(1).flatten()])  # (plain | mirrored, pixels of a crop)
        self._grids = both.to(device, torch.int32 if len(self._pixels) < 2**31 else torch.int64)

    def _affine(self, mean: np.ndarray, std: np.ndarray, device: torch.device) -> None:
        """Normalisation as one scale and one offset per value of a crop: long rows vectorise, channels do not."""
        pixels = self._crop[0] * self._crop[1]
        self._scale = torch.tensor(np.tile(1 / (255 * std), pixels), dtype=torch.float32, device=device)
        self._offset = torch.tensor(np.tile(-mean / std, pixels), dtype=torch.float32, device=device)

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw each image's crop corner, top and left, and whether it is flipped (0 or 1), each (N,) int64."""
        highs = (self._height - self._crop[0] + 1, self._width - self._crop[1] + 1, 2 if self.flip else 1)
        tops, lefts, flips = (torch.randint(high, (self.size,), generator=generator) for high in highs)
        return tops, lefts, flips

    def _shard(self, order: Tensor) -> Tensor:
        used = self.size - self.size % self.world_size if self.shuffle else self.size
        return order[:used][self.rank :: self.world_size]

    def _cut(self, shard: Tensor) -> Sequence[Tensor]:
        """Cut the shard into `len(self)` batches: ranks that differ in this would wait for one another for ever."""
        batches = shard.split(self.batch_size)
        return (batches if len(batches) >= len(self) else shard.tensor_split(len(self)))[: len(self)]

    def _images(self, starts: Tensor, flipped: Tensor) -> Tensor:
        """Gather and normalise the crops at pixel `starts` (B,) -> (B, C, S, S)."""
        height, width = self._crop
        chosen = self._grids[flipped] + starts[:, None]
        values = self._pixels.index_select(0, chosen.view(-1)).view(len(starts), -1).float()
        values.mul_(self._scale).add_(self._offset)
        image = values.view(len(starts), height, width, -1).permute(0, 3, 1, 2)
        if self.image_size is None or (self.image_size, self.image_size) == self._crop:
            return image
        side, smaller = (self.image_size, self.image_size), self.image_size < min(height, width)
        image = functional.interpolate(image, size=side, mode=self.interpolation, antialias=smaller)
        return image.contiguous(memory_format=torch.channels_last)

    def _move(self, boxes: Tensor, flipped: Tensor) -> Tensor:
        """Mirror, clip and scale the boxes (B, 4), given in pixels of the unflipped crop."""
        width = self._crop[1]
        mirrored = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        boxes = torch.where(flipped[:, None].bool(), mirrored, boxes)
        boxes = torch.minimum(boxes.clamp(min=0), self._edges)
        return boxes if self.image_size is None else boxes * (self.image_size / self._edges)

    def _view(self, shifts: Tensor, flipped: Tensor) -> Tensor:
        """Matrices (B, 3, 3) from whole images to crops shifted by x, y (B, 2) and mirrored, in pixels of `image`."""
        crop = torch.tensor(self._crop[::-1], device=shifts.device)  # width, height
        whole = torch.tensor([self._width, self._height], device=shifts.device) - 2 * self.padding
        side = whole if self.image_size is None else torch.full_like(crop, self.image_size)
        view = torch.eye(3, device=shifts.device).repeat(len(shifts), 1, 1)
        view[:, [0, 1], [0, 1]] = whole / crop
        view[:, :2, 2] = shifts * (side / crop)
        view[:, 0] = torch.where(flipped[:, None].bool(), side[0] * view[:, 2] - view[:, 0], view[:, 0])
        return view
