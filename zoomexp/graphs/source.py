"""Where a captured step finds its batch: cut out of arrays on the device, or copied into tensors that stay."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from zoomexp.datasets.loader import ArrayLoader, EpochPlan


class Placed:
    """Stands for a batch that the step makes itself; a hook that looks into it has the same batch made once more.

    No `Mapping`: Lightning would look into it itself, in every step.
    """

    def __init__(self, make: Callable[[], Mapping[str, Tensor]]) -> None:
        self.make = make
        self.made: Mapping[str, Tensor] | None = None

    def __getitem__(self, name: str) -> Tensor:
        made = self.made = self.make() if self.made is None else self.made
        return made[name]

    def to(self, *_: Any, **__: Any) -> "Placed":
        """Stay: it is on the device already."""
        return self


class Source(Protocol):
    """Gives a step its batch."""

    size: int

    def takes(self, batch: Any) -> bool:
        """Whether `batch`, as the loop has it, is one for a captured step; what is needed of it is copied."""

    def batch(self) -> Mapping[str, Tensor]:
        """The batch, made on the device."""

    def release(self) -> None:
        """Let go of it, and of whatever made it."""


class CutSource:
    """Cuts batches out of an `ArrayLoader`'s arrays: the epoch's order and draws are uploaded once, when it begins.

    Args:
        loader: of the training images; from now on it yields `Placed` where a batch is whole.
    """

    def __init__(self, loader: ArrayLoader) -> None:
        self.loader, self.size = loader, loader.batch_size
        self.plan: EpochPlan | None = None
        self.begun = torch.arange(self.size, device=loader.device)
        self.rows = self.begun.clone()
        loader.hand_over = self.batches

    def batches(self, plan: EpochPlan) -> Iterator[Any]:
        """An epoch's batches: whole ones are left to the step, a smaller last one is made here."""
        if self.plan is None:
            self.plan = plan
        for mine, new in zip(self.plan, plan, strict=True):
            if mine is not new:
                mine.copy_(new)
        self.rows.copy_(self.begun)
        whole, rest = divmod(len(plan.order), self.size)
        for number in range(min(whole, len(self.loader))):
            yield Placed(partial(self._seen, number))
        if rest and whole < len(self.loader):
            yield self._seen(whole)

    def _seen(self, number: int) -> Mapping[str, Tensor]:
        """The epoch's batch of that number, made outside of a step."""
        plan = self._plan()
        return self.loader.batch(plan, plan.order[number * self.size : (number + 1) * self.size])

    def takes(self, batch: Any) -> bool:
        """See `Source`."""
        return isinstance(batch, Placed)

    def batch(self) -> Mapping[str, Tensor]:
        """See `Source`; goes on by one batch."""
        plan = self._plan()
        chosen = plan.order.index_select(0, self.rows)
        self.rows.add_(self.size)
        return self.loader.batch(plan, chosen)

    def release(self) -> None:
        """Let the loader make its batches itself again."""
        self.loader.hand_over = None

    def _plan(self) -> EpochPlan:
        assert self.plan is not None  # an epoch has begun
        return self.plan


class CopiedSource:
    """Takes the batches of any loader, as long as they look like the first: tensors of the same shapes and types."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held: dict[str, Tensor] = {}

    def takes(self, batch: Any) -> bool:
        """See `Source`."""
        if not isinstance(batch, Mapping) or not all(isinstance(value, Tensor) for value in batch.values()):
            return False  # a file's name, a list
        if len(next(iter(batch.values()))) != self.size:
            return False
        if not self.held:
            # Strides as they are: a clone may choose others where a dimension is 1, and so another kernel.
            self.held = {
                name: torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
                for name, value in batch.items()
            }
        alike = batch.keys() == self.held.keys() and all(
            (value.shape, value.dtype) == (self.held[name].shape, self.held[name].dtype)
            for name, value in batch.items()
        )
        for name, value in batch.items() if alike else ():
            self.held[name].copy_(value, non_blocking=True)
        return alike

    def batch(self) -> Mapping[str, Tensor]:
        """See `Source`."""
        return self.held

    def release(self) -> None:
        """Forget the batch."""
        self.held = {}
