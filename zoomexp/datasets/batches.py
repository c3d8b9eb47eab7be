"""Which images make a batch, in which order and on which process, when images stream from disk."""

import math
from collections.abc import Iterator

import torch

from zoomexp.datasets.loader import EpochSampler
from zoomexp.errors import InputError

Key = tuple[int, int]  # epoch, position in the part


class ShardedBatches(EpochSampler):
    """Yields batches as lists of keys; the epoch travels with each image, so workers may live on between epochs.

    The rules are those of `ArrayLoader`.

    Args:
        size: how many images there are.
        batch_size: images a batch, per process.
        training: a new order each epoch, every process gets as many images (up to `world_size` - 1 are left out), and a
            last batch that is not full is dropped; otherwise the processes' shards hold every image exactly once, in as
            many batches each.
        seed: at least 0.
        rank, world_size: this process's place among those that share the work.

    Raises:
        InputError: a training batch larger than the set, or fewer images than processes.
    """

    def __init__(
        self, size: int, batch_size: int, *, training: bool = False, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(seed)
        self.size, self.batch_size, self.training = size, batch_size, training
        self.rank, self.world_size = rank, world_size
        shard = size // world_size
        if shard == 0:
            raise InputError(f"trainer.devices: {size} images cannot be shared by {world_size} processes")
        if training and batch_size > shard:
            whose = f" each of the {world_size} processes has" if world_size > 1 else ""
            message = f"is larger than the {shard} training images{whose}; at most {shard}"
            raise InputError(f"dataset.batch_size={batch_size} {message}")

    def __len__(self) -> int:
        """Return the number of batches an epoch, the same on every rank."""
        if self.training:
            return self.size // self.world_size // self.batch_size
        return math.ceil(math.ceil(self.size / self.world_size) / self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield one epoch's batches; the epoch is read when the first batch is asked for."""
        epoch, order = self.epoch, torch.arange(self.size)
        if self.training:
            order = torch.randperm(self.size, generator=self.generator())[: self.size - self.size % self.world_size]
        shard = order[self.rank :: self.world_size]
        batches = shard.split(self.batch_size)
        batches = batches if len(batches) >= len(self) else shard.tensor_split(len(self))
        for batch in batches[: len(self)]:
            yield [(epoch, position) for position in batch.tolist()]
