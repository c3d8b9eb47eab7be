"""Out of memory: the run goes on with smaller batches, as many more of them to a step.

A batch of B images becomes p batches of B / p, and the optimizer steps after p of them on their mean loss: the same
images decide each step, of which an epoch has as many. What looks at a batch as a whole (batch norm, mixup, the loss
weights of a batch) sees the smaller ones, so the numbers of a network with batch norm are not those of the whole batch.
"""

import sys
from collections.abc import Callable
from typing import cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.memory import garbage_collection_cuda, is_oom_error

from zoomexp.data_protocols import RunData
from zoomexp.errors import FaultError
from zoomexp.tasks.training import TrainedModel

Built = tuple[pl.Trainer, TrainedModel, RunData]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a GPU or the process can get no more memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or is_oom_error(error):
        return True
    return isinstance(error, RuntimeError) and str(error) == "could not create a primitive"  # oneDNN's way to say it


def in_memory(build: Callable[[], Built], run: Callable[..., None], on_oom: str) -> None:
    """Build a run and do it; where memory runs out, build and do it again with smaller batches, until it fits.

    Args:
        build: returns the trainer, the task and the data module, made anew.
        run: called with the three; goes on from the run's last checkpoint, if there is one.
        on_oom: "halve", or "fail", the first time already.

    Raises:
        FaultError: memory does not suffice, and the batch may not or cannot be made smaller.
    """
    parts: int | None = 1
    while parts:
        parts = _attempt(build, run, parts, on_oom)
        if parts:  # a collection takes longer than a tiny job
            garbage_collection_cuda()


def _attempt(build: Callable[[], Built], run: Callable[..., None], parts: int, on_oom: str) -> int | None:
    """Do the run with batches cut into `parts`; returns the parts to try next, or None if it is done.

    A function of its own, so that nothing of a failed attempt is left when the next one begins.
    """
    trainer, task, data = build()
    dropped = getattr(data, "drop_last", True)  # a data set of one's own need not have the choice
    whole, left_out = data.batch_size, "" if dropped else " and without the epoch's last, smaller batch"
    split_batches(trainer, data, parts)
    try:
        run(trainer, task, data)
        return None
    except Exception as error:
        if not out_of_memory(error):
            raise
        more, batch = smaller(whole, parts), whole // parts
        if reason := _why_not(more, trainer, on_oom):
            raise FaultError(f"out of memory with batches of {batch}; {reason}") from error
    sys.stderr.write(
        f"out of memory with batches of {batch}: goes on with batches of {whole // cast(int, more)}, "
        f"{more} to a step{left_out} (trainer.on_oom=fail would stop)\n"
    )
    return more


def _why_not(parts: int | None, trainer: pl.Trainer, on_oom: str) -> str | None:
    from zoomexp.graphs.loop import must_capture  # which asks this module what running out of memory is

    if on_oom == "fail":
        return "choose a smaller dataset.batch_size, or trainer.on_oom=halve"
    if trainer.world_size > 1:
        return "several processes cannot change it while they run; choose a smaller dataset.batch_size"
    if parts and must_capture(trainer):
        return "trainer.graph=true holds one batch; choose a smaller dataset.batch_size, or trainer.graph=auto"
    return None if parts else "there is no smaller one; choose a smaller network or image"


def smaller(batch: int, parts: int) -> int | None:
    """Into how many equal parts to cut a batch that does not fit in `parts`: at least twice as many.

    >>> [smaller(128, 1), smaller(128, 2), smaller(125, 1), smaller(7, 1), smaller(7, 7)]
    [2, 4, 5, 7, None]
    """
    return next((more for more in range(2 * parts, batch + 1) if batch % more == 0), None)


def split_batches(trainer: pl.Trainer, data: RunData, parts: int) -> None:
    """Make each batch `parts` smaller ones and each step take as many: the same images in as many steps.

    A last batch that is not full (`drop_last=False`) is left out: its parts would not count as much as those of others.

    Args:
        trainer: not started yet.
        data: set up, and attached to the trainer.
        parts: divides the batch size.
    """
    if parts == 1:
        return
    source = getattr(data, "data", data)  # where maps come with the images, they come around the data
    source.batch_size //= parts
    source.eval_batch_size = max(1, source.eval_batch_size // parts)
    trainer.accumulate_grad_batches *= parts
    limit = trainer.limit_train_batches
    source.drop_last = True
    full = len(data.train_dataloader()) // parts
    steps = min(limit, full) if isinstance(limit, int) else int(full * limit)
    trainer.limit_train_batches = steps * parts  # a part that is left over would make a step of its own
    for split in ("val", "test"):
        if isinstance(limit := getattr(trainer, f"limit_{split}_batches"), int):
            setattr(trainer, f"limit_{split}_batches", limit * parts)
