"""What every task does alike around its training step."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from zoomexp.arguments import whole
from zoomexp.errors import DivergedError
from zoomexp.scheduler import StepCosine
from zoomexp.tasks.meter import TrainingMeter
from zoomexp.upstream.no_batch_hooks import NoBatchHooks


class TrainedModel(NoBatchHooks, pl.LightningModule):
    """Optimizer and schedule, each epoch's own random numbers, the running averages, and the loss of a split.

    Args:
        model: The network.
        loss: Returns its terms by name.
        optimizer: Builds the optimizer from the model.
        scheduler: Builds a schedule, by epoch or `StepCosine`, from the optimizer; None keeps the rate.
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
        whole("task.seed", seed, 0)
        self.model, self.loss, self.seed = model, loss, seed
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self.meter = TrainingMeter()
        # What a NaN is replaced by: "warn" would drop it, and "disable" drops the weights (torchmetrics 1.9).
        kept = float("nan")
        self.losses = nn.ModuleDict({f"{split}_loss": MeanMetric(nan_strategy=kept) for split in ("val", "test")})
        self.predictions: dict[str, list[Tensor]] = {}
        self.configure_optimizers()  # what is wrong with optimizer and schedule shows now, before anything is written

    def __init_subclass__(cls, **options: Any) -> None:
        """Note what `training_step` takes: Lightning asks in every step, and finding out anew takes 20 microseconds."""
        super().__init_subclass__(**options)
        if "training_step" in cls.__dict__:
            cls.training_step.__signature__ = inspect.signature(cls.training_step)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; text and None past `nn.Module`, which first looks whether they are parameters or modules.

        Lightning notes the current hook's name so some thirty times a step, at one microsecond each.
        """
        if (value is None or type(value) is str) and name in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def configure_optimizers(self) -> Any:
        """The optimizer over the model's parameters, and its schedule by epoch or by step."""
        optimizer = self._make_optimizer(self.model)
        if self._make_scheduler is None:
            return optimizer
        schedule = self._make_scheduler(optimizer)
        if not isinstance(schedule, StepCosine):
            return {"optimizer": optimizer, "lr_scheduler": schedule}
        if self._trainer is not None:
            schedule.spread(int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip, where the trainer asks for it; Lightning would first look at what to clip, and by what."""
        if gradient_clip_val:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

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
            hits: Whether each of them is one, (images,) bool, by name; logged in percent.
        """
        trainer, loss = self.trainer, total(terms)
        step, every = trainer.global_step, trainer.log_every_n_steps
        self.meter.update(terms, loss, images, hits or {}, step)
        if trainer.is_last_batch:
            self.log_dict({f"train/{k}": v for k, v in self.meter.means().items()}, on_epoch=True, on_step=False,
                          sync_dist=True, batch_size=self.meter.images)  # fmt: skip
        elif every and (step + 1) % every == 0:
            self.running = self.meter.means()
            for logger in self.loggers:
                logger.log_metrics({f"step/{k}": v for k, v in self.running.items()}, step)
        return loss

    def keep_loss(self, split: str, terms: Mapping[str, Tensor], images: int) -> None:
        """Add a batch's loss terms to the split's mean."""
        self.losses[f"{split}_loss"].update(total(terms), images)

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


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of scalar terms; a single one as it is, without two more operations to go back through."""
    values = list(terms.values())
    return values[0] if len(values) == 1 else torch.stack(values).sum()
