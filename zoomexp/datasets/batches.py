"""Which images make a batch, in which order and on which process, when images stream from disk."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from zoomexp.datasets.loader import EpochSampler, check_eval_batch, smallest, too_large
from zoomexp.errors import InputError

Key = tuple[int, int]  # draw, its epoch's unless images repeat; position in the part


class ShardedBatches(EpochSampler):
    """Yields batches as lists of keys; the draw travels with each image, so workers may live on between epochs.

    The rules are those of `ArrayLoader`. Repeated augmentation (Hoffer et al. 2020, arXiv 1901.09335) as in DeiT: the
    copies of an image follow one another, and processes take them in turns, so that they meet in a step.

    Args:
        size: how many images there are.
        batch_size: images a batch, per process (`share_of_batch` says how many that are).
        training: a new order each epoch, and every process gets as many images (up to `world_size` - 1 are left out);
            otherwise the processes' shards hold every image exactly once, in as many batches each.
        drop_last: in training, leave out a last batch that is not full.
        seed: at least 0.
        rank, world_size: this process's place among those that share the work.
        repeats: copies of an image in a training epoch, each a draw of its own: epoch * repeats, + 1, + 2 ... An epoch
            keeps its length and sees 1 / repeats of the images.
        labels: (N,) int64; then a training epoch has as many images of each class: of a small class each equally often
            (up to one), a draw of its own each time, of a large class as many as there is room for. None: each once.

    Raises:
        InputError: a training batch larger than the set, or fewer images than processes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        training: bool = False,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        repeats: int = 1,
        labels: np.ndarray | None = None,
    ) -> None:
        super().__init__(seed)
        self.size, self.batch_size, self.training, self.drop_last = size, batch_size, training, drop_last
        self.rank, self.world_size, self.repeats = rank, world_size, repeats if training else 1
        self.members = None if labels is None else [np.flatnonzero(labels == label) for label in np.unique(labels)]
        shard = size // world_size
        if shard == 0:
            raise InputError(f"trainer.devices: {size} images cannot be shared by {world_size} processes")
        if training and batch_size > shard:
            raise too_large(batch_size, size, world_size)
        if not training:
            check_eval_batch(batch_size, size, world_size)

    def __len__(self) -> int:
        """Return the number of batches an epoch, the same on every rank."""
        if self.training:
            shard = self.size // self.world_size
            return shard // self.batch_size if self.drop_last else math.ceil(shard / self.batch_size)
        return math.ceil(math.ceil(self.size / self.world_size) / self.batch_size)

    @property
    def smallest_batch(self) -> int:
        """Images in the smallest training batch of this process."""
        return smallest(self.size // self.world_size, self.batch_size, self.drop_last)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield one epoch's batches; the epoch is read when the first batch is asked for."""
        order = copies = torch.arange(self.size)
        if self.training:
            order = torch.randperm(self.size, generator=self.generator()).repeat_interleave(self.repeats)
            order = order[: self.size - self.size % self.world_size]
        draws = self.epoch * self.repeats + copies[: len(order)] % self.repeats
        if self.training and self.members is not None:
            order, draws = (
                values[: self.size - self.size % self.world_size] for values in self._balanced(self.members)
            )
        shard = torch.stack([draws, order], dim=1)[self.rank :: self.world_size]
        batches = shard.split(self.batch_size)
        batches = batches if len(batches) >= len(self) else shard.tensor_split(len(self))
        for batch in batches[: len(self)]:
            yield [(draw, position) for draw, position in batch.tolist()]

    def _balanced(self, members: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Return an epoch's positions and draws, (N,) each, with as many images of each class (up to one)."""
        generator, classes = self.generator(), len(members)
        wanted = [(self.size + place) // classes for place in torch.randperm(classes, generator=generator).tolist()]
        most = max(math.ceil((self.size // classes + 1) / len(own)) for own in members)  # the same in every epoch
        positions, draws = [], []
        for own, count in zip(members, wanted, strict=True):
            rounds = math.ceil(count / len(own))
            orders = [torch.randperm(len(own), generator=generator) for _ in range(rounds)]
            positions.append(torch.from_numpy(own)[torch.cat(orders)[:count]] if rounds else torch.empty(0).long())
            draws.append(self.epoch * most + torch.arange(count) // len(own))
        mixed = torch.randperm(self.size, generator=generator)
        return torch.cat(positions)[mixed], torch.cat(draws)[mixed]
