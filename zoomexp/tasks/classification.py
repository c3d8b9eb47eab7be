"""Training and testing a classifier that may carry inserted modules."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from zoomexp.errors import InputError
from zoomexp.insertion import attention_maps
from zoomexp.tasks.localising import MapScores, maps_of
from zoomexp.tasks.mixing import Mixing
from zoomexp.tasks.training import TrainedModel

Batch = Mapping[str, Tensor]


class Classifier(TrainedModel):
    """One training run's steps and metrics. Batches are mappings with `image`, `label`, `index` and maybe `box`.

    Metrics, percent unless the name says otherwise: `train/loss`, `train/acc1` (running, in training mode),
    `val|test/loss`, `/acc1`, `/acc5` (top min(5, K)); where modules have maps the scores of `metrics.map_scores`, for
    example `test/pointing_game` (mean over the sites), `test/pointing_game/<site>` and the controls
    `test/pointing_game/centre_prior` and `/random_prior`; where a model chooses its tokens `test/tokens`, their mean
    number an image (and block, where blocks see different numbers).

    Args:
        model: Images (B, C, H, W) to logits (B, num_classes).
        loss: Called with logits, targets, `maps=` and `epoch=`; returns its terms by name.
        optimizer: Builds the optimizer from the model.
        scheduler: Builds a schedule by epoch from the optimizer; None keeps the rate.
        num_classes: K.
        seed: Seeds the random numbers of every epoch anew, so that a resumed run draws what the uninterrupted one did.
        mixing: Called with `num_classes`, builds timm's `Mixup` for the training batches, whose `train/acc1` is then
            against the heavier label; None leaves them as they are. Validation and test never mix.

    Raises:
        InputError: For a single class, if the loss needs maps and no inserted module has one, or for mixing out of its
            range or with a model that reads more of a batch than its images.
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
        mixing: Callable | None = None,
    ) -> None:
        if getattr(model, "gives_maps", False):
            raise InputError("backbone=zoomer: gives maps, not classes; choose task=distill_zoomer")
        if getattr(loss, "compares_maps", False):
            raise InputError(f"loss={type(loss).__name__}: compares maps, not classes; choose loss=cross_entropy")
        if num_classes < 2:
            raise InputError("dataset: there is one class only; a classifier needs at least two")
        map_sites = list(attention_maps(model))
        if getattr(loss, "needs_maps", False) and not map_sites:
            raise InputError(f"loss={type(loss).__name__}: needs a module with a map, and the model has none")
        super().__init__(model, loss, optimizer, scheduler, seed)
        self.num_classes = num_classes
        self.inputs = getattr(model, "inputs", ("image",))
        if mixing is not None and tuple(self.inputs) != ("image",):
            raise InputError(
                f"mixing: would mix images alone, and the model reads {', '.join(self.inputs)}; mixing=none"
            )
        self.mixing = None if mixing is None else Mixing(mixing, num_classes)
        scores = MetricCollection(
            {
                "acc1": MulticlassAccuracy(num_classes, average="micro"),
                "acc5": MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro"),
            },
            compute_groups=False,
        )
        self.scores = nn.ModuleDict({f"{split}_scores": scores.clone(prefix=f"{split}/") for split in ("val", "test")})
        self.tokens = MeanMetric()
        self.map_scores = MapScores()

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        return self.model(images)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """The sum of the loss terms on one batch."""
        targets = heavier = batch["label"]
        if self.mixing is not None:
            images, targets = self.mixing(batch["image"], batch["label"])
            batch, heavier = {**batch, "image": images}, targets.argmax(1)
        logits = self._logits(batch)
        epoch = self.current_epoch + number / self.trainer.num_training_batches
        terms = self.loss(logits, targets, maps=attention_maps(self.model), epoch=epoch) | self._own_terms(targets)
        return self.counted(terms, len(logits), {"acc1": logits.detach().argmax(1) == heavier})

    def _own_terms(self, targets: Tensor) -> dict[str, Tensor]:
        """What the network itself adds to the loss in training.

        `auxiliary_loss` is a scalar, a function of the targets that gives one, or None; `auxiliary_logits` names
        further logits (B, K) or, one for each token, (B, N, K), with a weight: {"class_token": (0.5, logits)}. Their
        targets are those of their images.
        """
        own = getattr(self.model, "auxiliary_loss", None)
        terms = {} if own is None else {"auxiliary": own(targets) if callable(own) else own}
        for name, (weight, logits) in (getattr(self.model, "auxiliary_logits", None) or {}).items():
            rows = logits.flatten(0, -2)
            repeated = targets.repeat_interleave(len(rows) // len(targets), dim=0)
            terms[name] = weight * F.cross_entropy(rows, repeated, label_smoothing=self.loss.label_smoothing)
        return terms

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score one batch of held-out images."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, _: int) -> None:
        """Score one batch of test images and the maps of the modules, and keep the predictions."""
        logits = self._evaluate(batch, "test")
        self.keep_predictions(index=batch["index"], label=batch["label"], **answers(logits, batch["label"]))
        self.map_scores.update(maps_of(self.model), batch)
        if hasattr(self.model, "tokens_per_block"):
            lengths = [block.to(self.device) for block in self.model.tokens_per_block]  # some are known on the CPU
            self.tokens.update(torch.stack(lengths).float().mean(0))
        elif hasattr(self.model, "lengths"):
            self.tokens.update(self.model.lengths.float())

    def _evaluate(self, batch: Batch, split: str) -> Tensor:
        logits = self._logits(batch)
        maps = attention_maps(self.model)
        self.keep_loss(
            split, self.loss(logits, batch["label"], maps=maps, epoch=float(self.current_epoch)), len(logits)
        )
        self.scores[f"{split}_scores"].update(logits, batch["label"])
        return logits

    def on_validation_epoch_end(self) -> None:
        """Log the split's scores."""
        self._log_split("val")

    def on_test_epoch_end(self) -> None:
        """Log the split's scores and the localisation."""
        self._log_split("test")
        self.log_dict(self.map_scores.compute())
        if self.tokens.update_called:
            self.log("test/tokens", self.tokens.compute())

    def _log_split(self, split: str) -> None:
        scores = self.scores[f"{split}_scores"]
        self.log_dict({name: 100 * value for name, value in scores.compute().items()})
        scores.reset()
        self.log_loss(split)

    def _logits(self, batch: Batch) -> Tensor:
        return self.model(*(batch[name] for name in self.inputs))


def answers(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What a classifier says of images, and how sure it is.

    Args:
        logits: (B, K).
        labels: (B,) int64.

    Returns:
        `top1` (B,) int64, and the probabilities (B,) float32 of that class, `confidence`, and of the true one,
        `label_confidence`.

    >>> {name: value.tolist() for name, value in answers(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).items()}
    {'top1': [0], 'confidence': [0.5], 'label_confidence': [0.5]}
    """
    top1, probabilities = logits.argmax(1), logits.float().softmax(1)
    sure, true = (probabilities.gather(1, which[:, None])[:, 0] for which in (top1, labels))
    return {"top1": top1, "confidence": sure, "label_confidence": true}
