"""Sample pictures in the loggers, as training goes on: what the task draws of validation images, and contact sheets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from zoomexp.arguments import boolean, integer, list_of
from zoomexp.tasks.contract import task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.trainer_parts import data_of


class Pictures(NoBatchHooks, pl.Callback):
    """Logs the task's pictures of the first validation images, in the first epoch and every few epochs.

    Nothing is done where no logger takes images (`log_image`), and where the task draws none.

    Args:
        every: Epochs from one set of pictures to the next.
        count: Images in each set.
        epochs: The epochs, from 0, in the place of every few; of a run that ends before, not reached. None: by `every`.
        sheets: Also one contact sheet of each set, an image a row, a site a column: `figures/epoch<n>.png` in the run
            folder, whatever the loggers, and `sheets/maps` in those that take images.
    """

    def __init__(
        self, every: int = 5, count: int = 8, epochs: Sequence[int] | None = None, sheets: bool = False
    ) -> None:
        integer("callbacks.pictures.every", every, 1)
        integer("callbacks.pictures.count", count, 1)
        if epochs is not None:
            list_of("callbacks.pictures.epochs", epochs, int, "epochs, from 0")
        boolean("callbacks.pictures.sheets", sheets)
        self.every, self.count, self.epochs, self.sheets = every, count, epochs, sheets

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
        takers = [logger for logger in trainer.loggers if hasattr(logger, "log_image")]
        if batch_idx or not trainer.is_global_zero or trainer.sanity_checking or not self._due(trainer.current_epoch):
            return
        if not takers and not self.sheets:
            return
        drawn = task_of(pl_module).pictures(batch, self.count, data_of(trainer))
        captions = [f"image {int(number)}" for number in batch["index"][: self.count]]
        shown = {name: (_arrays(pictures), captions) for name, pictures in drawn.items()}
        if self.sheets and drawn:
            folder = Path(trainer.default_root_dir) / "figures"
            sheet = _sheet(drawn, captions, folder / f"epoch{trainer.current_epoch}.png")
            shown["sheets/maps"] = [_read(sheet)], [f"epoch {trainer.current_epoch}"]
        for logger in takers:
            if isinstance(logger, WandbLogger):  # an axis for the pictures that follow
                logger.experiment.log({"epoch": trainer.current_epoch}, commit=False)
            for name, (arrays, said) in shown.items():
                logger.log_image(name, arrays, step=trainer.global_step, caption=said)

    def _due(self, epoch: int) -> bool:
        return epoch % self.every == 0 if self.epochs is None else epoch in self.epochs


def _arrays(pictures: Tensor) -> list[Any]:
    return [(255 * picture).round().to(torch.uint8).permute(1, 2, 0).numpy() for picture in pictures]


def _read(path: Path) -> Any:
    from matplotlib.image import imread  # takes a while, and only sheets need it

    return (255 * imread(path)).round().astype("uint8")


def _sheet(drawn: Mapping[str, Tensor], captions: Sequence[str], path: Path) -> Path:
    """Write the pictures in rows of an image, under their names."""
    from zoomexp.analysis.contact_sheet import Panel, contact_sheet

    path.parent.mkdir(exist_ok=True)
    rows = [
        [Panel(picture, caption) for picture in pictures]
        for *pictures, caption in zip(*drawn.values(), captions, strict=True)
    ]
    return contact_sheet(rows, list(drawn), path)
