"""Linear probing before fine-tuning: a run begins with the last layer that suits the features as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from zoomexp.arguments import list_of
from zoomexp.callbacks.still_images import in_test_mode
from zoomexp.data_protocols import GivesPlainBatches
from zoomexp.errors import InputError
from zoomexp.protocols import reads
from zoomexp.tasks.contract import task_of
from zoomexp.tasks.features import features_of, head_of
from zoomexp.tasks.probe import fit_linear
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.trainer_parts import data_of
from zoomexp.weights.starting import say


class ProbeFirst(NoBatchHooks, pl.Callback):
    """Fits the last layer to the training images' features before the first step; one line says how well it does.

    A random last layer sends gradients into the features that distort them before it has learnt anything; one that is
    fitted first does not (LP-FT, Kumar et al. 2022, arXiv 2202.10054). The features are those of images seen as test
    images are, and kept in files that `task=probe` shares. Where there is nothing to fit, or no way to, the run goes on
    without it and says why (see `obstacle`).

    Args:
        cache: Folder of the features.
        penalties: C of scikit-learn's `LogisticRegression` to choose from, by the accuracy on the validation images;
            the middle one where nothing validates.

    Raises:
        InputError: A penalty that is not above 0.
    """

    def __init__(self, cache: str | Path, penalties: Sequence[float] = (0.01, 0.1, 1.0, 10.0)) -> None:
        list_of("callbacks.probe_first.penalties", penalties, (int, float), "numbers above 0")
        if not penalties or min(penalties) <= 0:
            raise InputError(f"callbacks.probe_first.penalties={list(penalties)} must be at least one number above 0")
        self.cache, self.penalties, self.done = Path(cache), tuple(penalties), False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit it, once a run: one that resumes has it behind it."""
        if self.done:
            return
        self.done = True
        if why := obstacle(trainer, pl_module):
            say(f"probe_first: left out, for {why}")
            return
        found = self._fit(task_of(pl_module).model, data_of(trainer))
        say(f"probe_first: training begins with a linear layer fitted to the features, {found['train']:.1f} % of the "
            f"training images right (C {found['penalty']:g})")  # fmt: skip

    def state_dict(self) -> dict[str, bool]:
        """What the checkpoint keeps."""
        return {"done": self.done}

    def load_state_dict(self, state_dict: dict[str, bool]) -> None:
        """Take it back from a checkpoint."""
        self.done = state_dict["done"]

    def _fit(self, net: nn.Module, data: GivesPlainBatches) -> dict[str, Any]:
        _, head = head_of(net)
        with in_test_mode(net):
            parts = {part: features_of(net, data, part, self.cache) for part in ("train", "val")
                     if data.part(part) is not None}  # fmt: skip
        found = fit_linear(parts["train"], parts.get("val"), len(head.weight), self.penalties)
        seen = np.unique(parts["train"][1])  # a class without images keeps its rows
        with torch.no_grad():
            head.weight[seen] = torch.from_numpy(found["weight"][seen]).to(head.weight)
            head.bias[seen] = torch.from_numpy(found["bias"][seen]).to(head.bias)
        return found


def obstacle(trainer: pl.Trainer, task: pl.LightningModule) -> str | None:
    """Why a run cannot begin with a linear probe; None where it can."""
    net = task_of(task).model
    begun = getattr(net, "start_weights", None)
    if begun is not None and begun.classifier:
        return f"{begun.source} has the last layer"
    if trainer.world_size > 1:
        return "it works in one process"
    if tuple(reads(net)) != ("image",) or not hasattr(data_of(trainer), "plain_batches"):
        return "the network reads more than images of one class each"
    try:
        _, head = head_of(net)
    except InputError as error:
        return str(error).partition(": ")[2].replace("needs", "it needs", 1)
    return None if head.bias is not None else "the last layer has no bias"
