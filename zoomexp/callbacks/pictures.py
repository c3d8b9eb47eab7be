"""Sample pictures in the logger: the modules' maps over validation images, as training goes on."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from zoomexp.analysis.overlay import enlarged, heat_over
from zoomexp.analysis.viewed import to_look_at
from zoomexp.arguments import whole
from zoomexp.tasks.localising import maps_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class Pictures(NoBatchHooks, pl.Callback):
    """Logs `maps/<site>` of the first validation images, in the first epoch and every few epochs.

    Nothing is done where the logger takes no images (`log_image`), and for models without maps.

    Args:
        every: Epochs from one set of pictures to the next.
        count: Images in each set.
    """

    def __init__(self, every: int = 5, count: int = 8) -> None:
        whole("callbacks.pictures.every", every, 1)
        whole("callbacks.pictures.count", count, 1)
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
        """Draw the first batch's maps, which its forward has just left."""
        takes_images = hasattr(trainer.logger, "log_image") and trainer.is_global_zero
        if batch_idx or not takes_images or trainer.sanity_checking or trainer.current_epoch % self.every:
            return
        data = trainer.datamodule
        images = batch["image"][: self.count].detach().float().cpu()
        pictures = [enlarged(to_look_at(image, data.mean, data.std)) for image in images]
        for site, maps in maps_of(pl_module.model).items():
            heats = maps[: self.count].detach().float().cpu()
            drawn = [heat_over(picture, heat[0]) for picture, heat in zip(pictures, heats, strict=True)]
            arrays = [(255 * picture).round().to(torch.uint8).permute(1, 2, 0).numpy() for picture in drawn]
            captions = [f"image {int(number)}" for number in batch["index"][: self.count]]
            trainer.logger.log_image(f"maps/{site}", arrays, step=trainer.global_step, caption=captions)
