"""Sample pictures in the logger, as training goes on: what the task draws of validation images."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from zoomexp.arguments import integer
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class Pictures(NoBatchHooks, pl.Callback):
    """Logs the task's pictures of the first validation images, in the first epoch and every few epochs.

    Nothing is done where the logger takes no images (`log_image`), and where the task draws none.

    Args:
        every: Epochs from one set of pictures to the next.
        count: Images in each set.
    """

    def __init__(self, every: int = 5, count: int = 8) -> None:
        integer("callbacks.pictures.every", every, 1)
        integer("callbacks.pictures.count", count, 1)
        self.every, self.count = every, count

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch, whose forward has just been."""
        takes_images = hasattr(trainer.logger, "log_image") and trainer.is_global_zero
        if batch_idx or not takes_images or trainer.sanity_checking or trainer.current_epoch % self.every:
            return
        for name, pictures in pl_module.pictures(batch, self.count, trainer.datamodule).items():
            arrays = [(255 * picture).round().to(torch.uint8).permute(1, 2, 0).numpy() for picture in pictures]
            captions = [f"image {int(number)}" for number in batch["index"][: self.count]]
            trainer.logger.log_image(name, arrays, step=trainer.global_step, caption=captions)
