"""A few training images that a callback shows the network again and again, seen as test images are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor, nn

from zoomexp.processes import first_process
from zoomexp.upstream.trainer_parts import data_of


def still_images(trainer: pl.Trainer, net: nn.Module, count: int) -> Tensor | None:
    """The images (B, C, S, S) of `still_batch`."""
    batch = still_batch(trainer, net, count)
    return None if batch is None else batch["image"]


def still_batch(trainer: pl.Trainer, net: nn.Module, count: int) -> Mapping[str, Tensor] | None:
    """A batch of training images (B, C, S, S), evenly spread over the split, for the first process.

    None where the network reads more than images or has no inserted module, where the data module gives no
    `plain_batches` (images of several objects, or a user's own), where no process has all weights, and for all
    processes but the first.
    """
    reads, data = tuple(getattr(net, "inputs", ("image",))), data_of(trainer)
    if reads != ("image",) or not getattr(net, "insertion_sites", ()) or not hasattr(data, "plain_batches"):
        return None
    if not first_process() or isinstance(trainer.strategy, FSDPStrategy):
        return None
    positions = np.unique(np.linspace(0, len(data.part("train")) - 1, count).astype(int))
    return next(iter(data.plain_batches("train", positions, len(positions))))


@contextmanager
def in_test_mode(net: nn.Module) -> Iterator[None]:
    """The network in its test mode; every part's own mode comes back afterwards."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def as_tested(trainer: pl.Trainer, net: nn.Module) -> Iterator[None]:
    """The same, in the run's precision."""
    with in_test_mode(net), trainer.precision_plugin.forward_context():
        yield
