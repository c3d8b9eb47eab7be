"""The loss of a bare PyTorch loop: what a step computes, without anything around it; and what matching takes of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zoomexp.losses import set_prediction
from zoomexp.metrics.speed import clock
from zoomexp.protocols import gives_boxes
from zoomexp.tasks.training import TrainedModel


def bare_loss(task: TrainedModel, model: nn.Module) -> Callable[[dict[str, Tensor]], Tensor]:
    """Batches on the model's device to the loss: cross-entropy, or of a detector its own loss of boxes.

    Args:
        task: whose loss it is.
        model: the network of the bare loop.
    """
    if not gives_boxes(model):
        return lambda batch: torch.nn.functional.cross_entropy(model(batch["image"]), batch["label"])

    def of_boxes(batch: dict[str, Tensor]) -> Tensor:
        terms = task.loss(model(*task.read(batch).values()), task.targets(batch))
        return torch.stack(list(terms.values())).sum()

    return of_boxes


@contextmanager
def matching_timed(device: torch.device) -> Iterator[list[float]]:
    """Inside, the seconds of every matching of boxes and objects are noted; none where nothing is matched."""
    seconds: list[float] = []
    module: Any = set_prediction
    match = module.match

    def timed(*arguments: Any) -> Any:
        started = clock(device)
        found = match(*arguments)
        seconds.append(clock(device) - started)
        return found

    module.match = timed
    try:
        yield seconds
    finally:
        module.match = match
