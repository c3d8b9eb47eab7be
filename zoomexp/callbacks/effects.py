"""Says before the first step how far each inserted module moves the host's features and logits."""

import sys

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor

from zoomexp.analysis.module_effect import module_effects
from zoomexp.arguments import integer
from zoomexp.processes import first_process
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class Effects(NoBatchHooks, pl.Callback):
    """One line a module, on the screen; kept in `found` as `start/<site>/features`, `/logits` and `/classes`.

    Done at the beginning of a run that trains and has inserted modules, on training images that are seen as test images
    are. Left out where the network reads more than images, or the data module gives no `plain_batches`.

    Args:
        images: How many.
    """

    def __init__(self, images: int = 16) -> None:
        integer("callbacks.effects.images", images)
        self.images = images
        self.found: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure, and say it."""
        net = pl_module.model
        reads = tuple(getattr(net, "inputs", ("image",)))
        if trainer.global_step or reads != ("image",) or not getattr(net, "insertion_sites", ()):
            return
        if not first_process() or isinstance(trainer.strategy, FSDPStrategy):  # no process there has all weights
            return
        if not hasattr(trainer.datamodule, "plain_batches"):  # images of several objects, or a user's own
            return
        images = some_images(trainer.datamodule, self.images).to(pl_module.device)
        modes = {module: module.training for module in net.modules()}
        net.eval()
        try:
            with trainer.precision_plugin.forward_context():
                effects = module_effects(net, lambda: net.forward(images))
        finally:
            for module, training in modes.items():
                module.training = training
        for effect in effects:
            sys.stderr.write(f"{effect.told()}\n")
            measured = {"features": effect.features, "logits": effect.logits, "classes": effect.classes}
            self.found |= {f"start/{effect.site}/{k}": v for k, v in measured.items() if v is not None}

    def state_dict(self) -> dict[str, float]:
        """What was found, for a run that resumes."""
        return self.found

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Take over what an interrupted run found."""
        self.found = dict(state_dict)


def some_images(data: pl.LightningDataModule, count: int) -> Tensor:
    """Training images (B, C, S, S), evenly spread over the split."""
    positions = np.unique(np.linspace(0, len(data.part("train")) - 1, count).astype(int))
    return next(iter(data.plain_batches("train", positions, len(positions))))["image"]
