"""What every task does alike around its training step."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from zoomexp.errors import DivergedError
from zoomexp.tasks.meter import TrainingMeter


class TrainedModel(pl.LightningModule):
    """Optimizer and schedule, each epoch's own random numbers, the running averages, and the loss of a split.

    Args:
        model: The network.
        loss: Returns its terms by name.
        optimizer: Builds the optimizer from the model.
        scheduler: Builds a schedule by epoch from the optimizer; None keeps the rate.
        seed: Seeds the random numbers of every epoch anew, so that a resumed run draws what the uninterrupted one did.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.seed = model, loss, seed
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        # What a NaN is replaced by: "warn" would drop it, and "disable" drops the weights (torchmetrics 1.9).
        kept = float("nan")
        self.losses = nn.ModuleDict({f"{split}_loss": MeanMetric(nan_strategy=kept) for split in ("val", "test")})
        self.predictions: dict[str, list[Tensor]] = {}
        self.configure_optimizers()  # what is wrong with optimizer and schedule shows now, before anything is written

    def configure_optimizers(self) -> Any:
        """The optimizer over the model's parameters, and its schedule by epoch."""
        optimizer = self._make_optimizer(self.model)
        if self._make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._make_scheduler(optimizer)}

    def on_fit_start(self) -> None:
        """Put the running averages where the model is."""
        self.meter = TrainingMeter(self.device)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's own streams of random numbers: torch's (dropout, drop path) and numpy's (mixing)."""
        seed = self.seed * 1_000_003 + self.current_epoch * 1009 + self.global_rank
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # numpy takes no more bits; timm mixes with the global generator
        self.meter.reset()

    def counted(self, terms: Mapping[str, Tensor], images: int, hits: Mapping[str, Tensor] | None = None) -> Tensor:
        """Sum the loss terms of a training batch; keep the running averages, log and check them now and then.

        Args:
            terms: Scalars, means over the batch.
            images: How many images the batch has.
            hits: How many of them hit, by name; logged in percent.
        """
        loss = torch.stack(list(terms.values())).sum()
        self.meter.update(terms, loss, images, hits or {}, self.global_step)
        if self.trainer.is_last_batch:
            self.log_dict({f"train/{k}": v for k, v in self.meter.means().items()}, on_epoch=True, on_step=False,
                          sync_dist=True, batch_size=self.meter.images)  # fmt: skip
        elif (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self.running = self.meter.means()
            for logger in self.loggers:
                logger.log_metrics({f"step/{k}": v for k, v in self.running.items()}, self.global_step)
        return loss

    def keep_loss(self, split: str, terms: Mapping[str, Tensor], images: int) -> None:
        """Add a batch's loss terms to the split's mean."""
        self.losses[f"{split}_loss"].update(torch.stack(list(terms.values())).sum(), images)

    def log_loss(self, split: str) -> None:
        """Log the split's mean loss and begin anew.

        Raises:
            DivergedError: If it is NaN or infinite.
        """
        loss = self.losses[f"{split}_loss"]
        mean = loss.compute()
        if not torch.isfinite(mean):
            raise DivergedError(f"the {split} loss is NaN or infinite after step {self.global_step}")
        self.log(f"{split}/loss", mean)
        loss.reset()

    def keep_predictions(self, **values: Tensor) -> None:
        """Add a batch of the test images to what `predictions.npz` will hold."""
        for name, value in values.items():
            self.predictions.setdefault(name, []).append(value.cpu())
