"""Says before the first step how far each inserted module moves the host's features and logits."""

import sys

import pytorch_lightning as pl

from zoomexp.analysis.module_effect import module_effects
from zoomexp.arguments import integer
from zoomexp.callbacks.still_images import as_tested, still_images
from zoomexp.tasks.contract import task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class Effects(NoBatchHooks, pl.Callback):
    """One line a module, on the screen; kept in `found` as `start/<site>/features`, `/logits` and `/classes`.

    Done at the beginning of a run that trains and has inserted modules, on training images that are seen as test images
    are (`still_images`, which says where it is left out).

    Args:
        images: How many.
    """

    def __init__(self, images: int = 16) -> None:
        integer("callbacks.effects.images", images)
        self.images = images
        self.found: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure, and say it."""
        net = task_of(pl_module).model
        images = None if trainer.global_step else still_images(trainer, net, self.images)
        if images is None:
            return
        shown = images.to(pl_module.device)
        with as_tested(trainer, net):
            effects = module_effects(net, lambda: net.forward(shown))
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
