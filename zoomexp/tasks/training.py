"""What every task does alike: its steps, in terms of what is the task's own (see `contract`)."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from zoomexp.arguments import integer
from zoomexp.errors import DivergedError
from zoomexp.metrics.declared import LOSS
from zoomexp.metrics.quantity import Quantity, find
from zoomexp.protocols import reads
from zoomexp.results.predictions import LENGTHS
from zoomexp.scheduler import StepCosine
from zoomexp.tasks.contract import Batch, Tables
from zoomexp.tasks.localising import maps_of
from zoomexp.tasks.meter import TrainingMeter
from zoomexp.tokens.ragged import Ragged
from zoomexp.training_protocols import following_epochs, own_loss
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.trainer_parts import logging_interval

Terms = Mapping[str, Tensor]


class TrainedModel(NoBatchHooks, pl.LightningModule):
    """Optimizer and schedule, each epoch's own random numbers, the running averages, and the loss of a split.

    Written down in `contract.Task`: a task lists its `quantities`, says which of them is the `main` one, and fills in
    `targets`, `score`, `results` and `outcomes`, and the rest where it differs.

    Args:
        model: The network.
        loss: Returns its terms by name.
        optimizer: Builds the optimizer from the model.
        scheduler: Builds a schedule, by epoch or `StepCosine`, from the optimizer; None keeps the rate.
        num_classes: How many classes the data have.
        seed: Seeds the random numbers of every epoch anew, so that a resumed run draws what the uninterrupted one did.
        mixing: Called with `num_classes`, mixes training images; None leaves them as they are.

    Raises:
        InputError: What a task's `check` refuses.
    """

    quantities: ClassVar[tuple[Quantity, ...]] = (LOSS,)
    main: ClassVar[Quantity] = LOSS
    work: ClassVar[str | None] = None

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None,
        num_classes: int,
        seed: int,
        mixing: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__()
        integer("task.seed", seed, 0)
        self.model, self.loss, self.seed, self.num_classes = model, loss, seed, num_classes
        self.inputs = reads(model)
        self.check(mixing)
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self.meter = TrainingMeter()
        # What a NaN is replaced by: "warn" would drop it, and "disable" drops the weights (torchmetrics 1.9).
        kept = float("nan")
        self.split_losses = nn.ModuleDict({f"{split}_loss": MeanMetric(nan_strategy=kept) for split in ("val", "test")})
        self.predictions: dict[str, list[Tensor]] = {}
        self.configure_optimizers()  # what is wrong with optimizer and schedule shows now, before anything is written

    @property
    def logit_classes(self) -> int | None:
        """K of a task whose outputs are the logits (B, K) of each image's one `label`; None of others."""
        return None

    def check(self, mixing: Callable[..., Any] | None) -> None:
        """Refuse a `model`, `loss`, number of classes or mixing that the task cannot do with.

        Raises:
            InputError: One of them.
        """

    def __init_subclass__(cls, **options: Any) -> None:
        """Note what a `training_step` of its own takes, as of `TrainedModel`'s below."""
        super().__init_subclass__(**options)
        if "training_step" in cls.__dict__:
            cast(Any, cls.training_step).__signature__ = inspect.signature(cls.training_step)

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

    def prepared(self, batch: Batch) -> tuple[Batch, Any]:
        """A training batch and its targets, as they are."""
        return batch, self.targets(batch)

    def outputs(self, batch: Batch) -> Any:
        """What the network makes of its `inputs`."""
        return self.model(*self.read(batch).values())

    def read(self, batch: Batch) -> dict[str, Tensor]:
        """What the network reads of a batch, by name in the order of its arguments, a row for each image."""
        return {name: batch[name] for name in self.inputs}

    def targets(self, batch: Batch) -> Any:
        """What the network should have said; each task's own."""
        raise NotImplementedError

    def losses(self, outputs: Any, targets: Any, epoch: float | Tensor) -> dict[str, Tensor]:
        """The loss's terms."""
        return self.loss(outputs, targets)

    def own_losses(self, targets: Any) -> dict[str, Tensor]:
        """What the network itself adds to the loss in training (see `training_protocols.LearnsOnItsOwn`)."""
        own = own_loss(self.model)
        return {} if own is None else {"auxiliary": own(targets) if callable(own) else own}

    def as_mixed(self, targets: Any) -> Any:
        """A training batch's targets after the forward, in which a network may have mixed images; as they are."""
        return targets

    def hits(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Nothing that is hit or missed."""
        return {}

    def score(self, split: str, outputs: Any, targets: Any, batch: Batch) -> None:
        """Add a batch to the split's scores; there are none beside the loss."""

    def results(self, split: str) -> dict[str, Tensor]:
        """The split's scores; none beside the loss."""
        return {}

    def outcomes(self, outputs: Any, targets: Any) -> dict[str, Tensor | Ragged]:
        """What is kept of test images beside their index; nothing."""
        return {}

    def pictures(self, batch: Batch, count: int, data: Any) -> dict[str, Tensor]:
        """The maps of the network's last forward over the first images: `maps/<site>`, (n, 3, H, W) in [0, 1]."""
        from zoomexp.tasks.pictures import drawn_maps  # takes matplotlib, which only drawing needs

        return drawn_maps(maps_of(self.model), batch["image"][:count], data.mean, data.std)

    def tables(self, predictions: Mapping[str, Any], classes: Sequence[str]) -> tuple[Tables, dict[str, float]]:
        """None."""
        return {}, {}

    def explained(self, batch: Batch) -> Tensor | None:
        """No classes."""
        return None

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """The sum of the loss terms on one batch."""
        epoch = self.current_epoch + number / self.trainer.num_training_batches
        terms, hits = self.training_terms(batch, epoch)
        return self.counted(terms, len(batch["image"]), hits)

    def training_terms(self, batch: Batch, epoch: float | Tensor) -> tuple[Terms, Terms]:
        """The loss terms of a training batch and its hits; what a step that a graph replays is made of, too.

        Args:
            batch: Tensors on the model's device.
            epoch: How far training is, in epochs; in a step for a graph a scalar on the device, so that it can change.
        """
        batch, targets = self.prepared(batch)
        outputs = self.outputs(batch)
        own, targets = self.own_losses(targets), self.as_mixed(targets)
        return self.losses(outputs, targets, epoch) | own, self.hits(outputs, targets)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score one batch of held-out images."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, _: int) -> None:
        """Score one batch of test images, and keep what was said of each."""
        outputs, targets = self._evaluate("test", batch)
        self.keep_predictions({"index": batch["index"], **self.outcomes(outputs, targets)})

    def _evaluate(self, split: str, batch: Batch) -> tuple[Any, Any]:
        outputs, targets = self.outputs(batch), self.targets(batch)
        terms = self.losses(outputs, targets, float(self.current_epoch))
        self._split_loss(split).update(total(terms), len(batch["image"]))
        self.score(split, outputs, targets, batch)
        return outputs, targets

    def _split_loss(self, split: str) -> MeanMetric:
        return cast(MeanMetric, self.split_losses[f"{split}_loss"])

    def on_validation_epoch_end(self) -> None:
        """Log the split's scores."""
        self._log_split("val")

    def on_test_epoch_end(self) -> None:
        """Log the split's scores."""
        self._log_split("test")

    def _log_split(self, split: str) -> None:
        """Log a split's scores and its mean loss.

        Raises:
            DivergedError: If the loss is NaN or infinite.
        """
        self.log_dict(self.results(split))
        loss = self._split_loss(split)
        mean = loss.compute()
        if not torch.isfinite(mean):
            raise DivergedError(f"the {split} loss is NaN or infinite after step {self.global_step}")
        self.log(f"{split}/loss", mean)
        loss.reset()

    def on_train_epoch_start(self) -> None:
        """Tell parts that follow epochs; begin the streams of torch's (dropout) and numpy's random numbers (mixing)."""
        for part in following_epochs(self.model):
            part.begin_epoch(self.current_epoch, cast(int, self.trainer.max_epochs))
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
        loss, step = total(terms), self.trainer.global_step
        self.meter.update(terms, loss, images, hits or {}, step)
        self.report(step)
        return loss

    def report(self, step: int) -> None:
        """Log and check the running averages after the batch of a global step, now and then and after the last."""
        trainer, every = self.trainer, logging_interval(self.trainer)
        if trainer.is_last_batch:
            self.log_dict({f"train/{k}": v for k, v in self.meter.means().items()}, on_epoch=True, on_step=False,
                          sync_dist=True, batch_size=self.meter.images)  # fmt: skip
        elif every and (step + 1) % every == 0:
            self.running = self.meter.means()
            for logger in self.loggers:
                logger.log_metrics({f"step/{k}": v for k, v in self.running.items()}, step)

    def in_its_unit(self, key: str, value: Tensor) -> Tensor:
        """A value as it is logged: shares in [0, 1] of what is declared in percent become percentages."""
        return 100 * value if cast(Quantity, find(key, self.quantities)).unit == "%" else value

    def keep_predictions(self, values: Mapping[str, Tensor | Ragged]) -> None:
        """Add a batch of the test images to what `predictions.npz` will hold."""
        for name, value in values.items():
            if isinstance(value, Ragged):
                parts = {name: value.values, f"{name}{LENGTHS}": value.lengths}
            else:
                parts = {name: value}
            for key, part in parts.items():
                self.predictions.setdefault(key, []).append(part.cpu())


# Lightning asks in every step what it takes, and finding out anew takes 20 microseconds.
cast(Any, TrainedModel.training_step).__signature__ = inspect.signature(TrainedModel.training_step)


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of scalar terms; a single one as it is, without two more operations to go back through."""
    values = list(terms.values())
    return values[0] if len(values) == 1 else torch.stack(values).sum()
