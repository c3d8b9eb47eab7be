"""Training and testing a classifier that may carry inserted modules."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from zoomexp.errors import DivergedError, InputError
from zoomexp.insertion import attention_maps
from zoomexp.metrics.localisation import PointingGame, centre_prior
from zoomexp.tasks.meter import TrainingMeter

Batch = Mapping[str, Tensor]


class Classifier(pl.LightningModule):
    """One training run's steps and metrics. Batches are mappings with `image`, `label`, `index` and maybe `box`.

    Metrics, percent unless the name says otherwise: `train/loss`, `train/acc1` (running, in training mode),
    `val|test/loss`, `/acc1`, `/acc5` (top min(5, K)); with boxes and maps `test/pointing_game` (mean over the sites),
    `test/pointing_game/<site>` and the control `test/pointing_game/centre_prior`.

    Args:
        model: Images (B, C, H, W) to logits (B, num_classes).
        loss: Called with logits, targets, `maps=` and `epoch=`; returns its terms by name.
        optimizer: Builds the optimizer from the model.
        scheduler: Builds a schedule by epoch from the optimizer; None keeps the rate.
        num_classes: K.
        seed: Seeds the random numbers of every epoch anew, so that a resumed run draws what the uninterrupted one did.

    Raises:
        InputError: If the loss needs maps and no inserted module has one.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None,
        num_classes: int,
        seed: int,
    ) -> None:
        super().__init__()
        map_sites = list(attention_maps(model))
        if getattr(loss, "needs_maps", False) and not map_sites:
            raise InputError(f"loss={type(loss).__name__}: needs a module with a map, and the model has none")
        self.model, self.loss, self.seed = model, loss, seed
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        scores = MetricCollection(
            {
                "acc1": MulticlassAccuracy(num_classes, average="micro"),
                "acc5": MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro"),
            },
            compute_groups=False,
        )
        self.scores = nn.ModuleDict({f"{split}_scores": scores.clone(prefix=f"{split}/") for split in ("val", "test")})
        # What a NaN is replaced by: "warn" would drop it, and "disable" drops the weights (torchmetrics 1.9).
        kept = float("nan")
        self.losses = nn.ModuleDict({f"{split}_loss": MeanMetric(nan_strategy=kept) for split in ("val", "test")})
        self.pointing = nn.ModuleDict({site: PointingGame() for site in [*map_sites, "centre_prior"]})
        self.predictions: dict[str, list[Tensor]] = {}
        self.configure_optimizers()  # what is wrong with optimizer and schedule shows now, before anything is written

    def configure_optimizers(self) -> Any:
        """The optimizer over the model's parameters, and its schedule by epoch."""
        optimizer = self._make_optimizer(self.model)
        if self._make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._make_scheduler(optimizer)}

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        return self.model(images)

    def on_fit_start(self) -> None:
        """Put the running averages where the model is."""
        self.meter = TrainingMeter(self.device)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's own stream of random numbers (dropout, drop path)."""
        torch.manual_seed(self.seed * 1_000_003 + self.current_epoch * 1009 + self.global_rank)
        self.meter.reset()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The sum of the loss terms on one batch."""
        logits = self.model(batch["image"])
        epoch = self.current_epoch + self.trainer.fit_loop.epoch_loop.batch_idx / self.trainer.num_training_batches
        terms = self.loss(logits, batch["label"], maps=attention_maps(self.model), epoch=epoch)
        loss = torch.stack(list(terms.values())).sum()
        self.meter.update(terms, loss, logits, batch["label"], self.global_step)
        if self.trainer.is_last_batch:
            self.log_dict({f"train/{k}": v for k, v in self.meter.means().items()}, on_epoch=True, on_step=False,
                          sync_dist=True, batch_size=self.meter.images)  # fmt: skip
        elif (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self.running = self.meter.means()
            for logger in self.loggers:
                logger.log_metrics({f"step/{k}": v for k, v in self.running.items()}, self.global_step)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score one batch of held-out images."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, _: int) -> None:
        """Score one batch of test images, keep the predictions, and play the pointing game where there are boxes."""
        logits = self._evaluate(batch, "test")
        kept = {"index": batch["index"], "label": batch["label"], "top1": logits.argmax(1)}
        for name, value in kept.items():
            self.predictions.setdefault(name, []).append(value.cpu())
        maps = attention_maps(self.model)
        if "box" in batch and maps:
            size = batch["image"].shape[-1]
            for site, value in {**maps, "centre_prior": centre_prior(next(iter(maps.values())))}.items():
                self.pointing[site].update(value, batch["box"], size)

    def _evaluate(self, batch: Batch, split: str) -> Tensor:
        logits = self.model(batch["image"])
        maps = attention_maps(self.model)
        terms = self.loss(logits, batch["label"], maps=maps, epoch=float(self.current_epoch))
        self.losses[f"{split}_loss"].update(torch.stack(list(terms.values())).sum(), len(logits))
        self.scores[f"{split}_scores"].update(logits, batch["label"])
        return logits

    def on_validation_epoch_end(self) -> None:
        """Log the split's scores."""
        self._log_split("val")

    def on_test_epoch_end(self) -> None:
        """Log the split's scores and the localisation."""
        self._log_split("test")
        rates = {site: game.compute() for site, game in self.pointing.items() if game.update_called}
        if rates:
            sites = [rate for site, rate in rates.items() if site != "centre_prior"]
            self.log("test/pointing_game", torch.stack(sites).mean())
            self.log_dict({f"test/pointing_game/{site}": rate for site, rate in rates.items()})

    def _log_split(self, split: str) -> None:
        scores, loss = self.scores[f"{split}_scores"], self.losses[f"{split}_loss"]
        self.log_dict({name: 100 * value for name, value in scores.compute().items()})
        mean = loss.compute()
        if not torch.isfinite(mean):
            raise DivergedError(f"the {split} loss is NaN or infinite after step {self.global_step}")
        self.log(f"{split}/loss", mean)
        scores.reset()
        loss.reset()
