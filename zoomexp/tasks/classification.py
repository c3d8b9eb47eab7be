"""Training and testing a classifier that may carry inserted modules."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from zoomexp.arguments import one_of
from zoomexp.errors import InputError
from zoomexp.insertion import attention_maps
from zoomexp.metrics.class_scores import class_scores, class_table, confusion
from zoomexp.metrics.classification import outcomes, scaled_scores, scores
from zoomexp.metrics.declared import ACC1, CLASSIFICATION, REAL_ACC1, TEMPERATURE, TOKENS
from zoomexp.metrics.label_sets import among, real_accuracy
from zoomexp.metrics.quantity import Quantity
from zoomexp.metrics.ranking import ranking_scores
from zoomexp.metrics.temperature import Temperature
from zoomexp.protocols import gives_boxes, gives_maps, gives_pixels, mean_tokens, needs_maps
from zoomexp.tasks.contract import Batch, Tables
from zoomexp.tasks.localising import MapScores, maps_of
from zoomexp.tasks.mixing import Mixing
from zoomexp.tasks.token_labels import TokenLabels
from zoomexp.tasks.training import TrainedModel
from zoomexp.tokens.ragged import Ragged
from zoomexp.training_protocols import (
    ClassLoss,
    compares_boxes,
    compares_maps,
    compares_pixels,
    further_logits,
    learns_one_class,
    logit_weight,
    mixed_share,
    mixes_tokens,
)

TTA = ("none", "hflip")


class Classifier(TrainedModel):
    """One training run's steps and metrics. Batches are mappings with `image`, `label`, `index` and maybe `box`.

    Metrics, as `quantities` declares them: `train/loss`, `train/acc1` (running, in training mode), `val|test/loss`,
    `/acc1`, `/acc5` (top min(5, K)), `/nll`, `/ece`; where modules have maps the scores of `metrics.map_scores`, for
    example `test/pointing_game` (mean over the sites), `test/pointing_game/<site>` and the controls
    `test/pointing_game/centre_prior` and `/random_prior`; where a model chooses its tokens `test/tokens`, their mean
    number an image (and block, where blocks see different numbers). Each validation fits a temperature to its images,
    `val/temperature`, which checkpoints keep; a test of such weights also has `test/nll_t`, `/ece_t` and `/brier_t` of
    logits divided by it (of weights that are not trained here see `run.calibrating`).

    Args:
        model: Images (B, C, H, W) to logits (B, num_classes).
        loss: Called with logits, targets, `maps=` and `epoch=`; returns its terms by name.
        mixing: Called with `num_classes`, builds timm's `Mixup` for the training batches, whose `train/acc1` is then
            against the heavier label; None leaves them as they are. Validation and test never mix.
        tta: Of test images: "none"; or "hflip", each is shown as it is and mirrored, and the mean of both softmaxes
            counts. Maps are those of the image as it is, and the recorded cost that of one forward.
        **common: As in `TrainedModel`.

    Raises:
        InputError: For a single class, if the loss needs maps and no inserted module has one, or for mixing out of its
            range or with a model that reads more of a batch than its images.
    """

    quantities: ClassVar[tuple[Quantity, ...]] = CLASSIFICATION
    main = ACC1

    def __init__(self, *, mixing: Callable[..., Any] | None = None, tta: str = "none", **common: Any) -> None:
        one_of("task.tta", tta, TTA)
        super().__init__(mixing=mixing, **common)
        if tta != "none" and tuple(self.inputs) != ("image",):
            raise InputError(f"task.tta={tta}: would mirror images alone, and the model reads {', '.join(self.inputs)}")
        self.tta = tta
        self.mixing = None if mixing is None else Mixing(mixing, self.num_classes)
        kinds = scores(self.num_classes)
        self.scores = nn.ModuleDict({f"{split}_scores": kinds.clone() for split in ("val", "test")})
        self.temperature_fit, self.scaled_scores = Temperature(), scaled_scores()
        self.fitted: float | None = None  # the temperature of the last validation, or of the weights that were loaded
        self.tokens = MeanMetric()
        self.map_scores = MapScores()

    @property
    def logit_classes(self) -> int:
        """K."""
        return self.num_classes

    def check(self, mixing: Callable[..., Any] | None) -> None:
        """See `Raises`."""
        if gives_maps(self.model):
            raise InputError("backbone=zoomer: gives maps, not classes; choose task=distill_zoomer")
        if gives_boxes(self.model):
            raise InputError("detector=yolos: says boxes, not classes; choose task=detection")
        if gives_pixels(self.model):
            raise InputError("decoder: says the class of every pixel, not of images; choose task=segmentation")
        if compares_maps(self.loss):
            raise InputError(f"loss={type(self.loss).__name__}: compares maps, not classes; choose loss=cross_entropy")
        if compares_boxes(self.loss):
            raise InputError(f"loss={type(self.loss).__name__}: compares boxes, not classes; choose loss=cross_entropy")
        if compares_pixels(self.loss):
            raise InputError(f"loss={type(self.loss).__name__}: compares pixels, not images; choose loss=cross_entropy")
        if self.num_classes < 2:
            raise InputError("dataset: there is one class only; a classifier needs at least two")
        if needs_maps(self.loss) and not attention_maps(self.model):
            need = f"loss={type(self.loss).__name__}: needs a module with a map, and the model has none"
            raise InputError(f"{need}; choose loss=cross_entropy")
        if logit_weight(self.model) != 1 and not (hasattr(self.loss, "compare") and hasattr(self.loss, "compared")):
            raise InputError(f"loss={type(self.loss).__name__}: the model weighs its classes' term, and none is named")
        if mixing is not None and learns_one_class(self.model):
            raise InputError("mixing: head=cal keeps a centre for each class, and mixed images have two; mixing=none")
        if mixing is not None and mixes_tokens(self.model):
            raise InputError("mixing: backbone.mix_token=true mixes images already; choose mixing=none")
        if mixing is not None and tuple(self.inputs) != ("image",):
            read = ", ".join(self.inputs)
            raise InputError(f"mixing: would mix images alone, and the model reads {read}; mixing=none")

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        return self.model(images)

    def prepared(self, batch: Batch) -> tuple[Batch, Tensor | TokenLabels]:
        """A training batch with labels (B,) int64; where images are mixed, shares of classes (B, K); or a teacher's."""
        if "dense_labels" in batch:
            return batch, TokenLabels(batch, self.num_classes)
        if self.mixing is None:
            return batch, batch["label"]
        images, targets = self.mixing(batch["image"], batch["label"])
        return {**batch, "image": images}, targets

    def outputs(self, batch: Batch) -> Tensor:
        """Logits (B, K); in a test with `tta` those of the mean softmax of the images as they are and mirrored."""
        mirrors = self.tta == "hflip" and self._trainer is not None and self.trainer.testing
        mirrored = self.model(batch["image"].flip(-1)) if mirrors else None  # first: the maps are those of the last
        logits = super().outputs(batch)
        return logits if mirrored is None else mean_softmax(logits, mirrored)

    def targets(self, batch: Batch) -> Tensor:
        """The labels (B,) int64."""
        return batch["label"]

    def losses(self, outputs: Tensor, targets: Tensor, epoch: float | Tensor) -> dict[str, Tensor]:
        """The loss's terms of logits (B, K), of targets (B,) or (B, K), and of the inserted modules' maps.

        In training that of the classes counts as the network says (`training_protocols.WeighsLogits`).
        """
        terms = dict(self.loss(outputs, targets, maps=attention_maps(self.model), epoch=epoch))
        if self.training and (weight := logit_weight(self.model)) != 1:
            name = cast(ClassLoss, self.loss).compared
            terms[name] = weight * terms[name]
        return terms

    def own_losses(self, targets: Tensor | TokenLabels) -> dict[str, Tensor]:
        """What the network adds to the loss in training; its further logits learn the targets of their images.

        Where a teacher's labels of places are there, the logits of N patches learn those of theirs.

        See `training_protocols.LearnsOnItsOwn` and `training_protocols.GivesFurtherLogits`.

        Raises:
            InputError: For further logits and a loss that cannot compare them.
        """
        terms = super().own_losses(targets)
        for name, (weight, logits) in further_logits(self.model).items():
            if not hasattr(self.loss, "compare"):
                raise InputError(
                    f"loss={type(self.loss).__name__}: the model trains further logits, and it has no compare"
                )
            rows = logits.flatten(0, -2)
            if isinstance(targets, TokenLabels):
                own = targets.of_patches(math.isqrt(logits.shape[1])).flatten(0, 1)
            else:
                own = targets.repeat_interleave(len(rows) // len(targets), dim=0)
            terms[name] = weight * cast(ClassLoss, self.loss).compare(rows, own)
        return terms

    def as_mixed(self, targets: Tensor | TokenLabels) -> Tensor:
        """Labels (B,) or shares of classes (B, K); shares (B, K) where the network has mixed images in pairs."""
        share = mixed_share(self.model)
        targets = targets.of_image() if isinstance(targets, TokenLabels) else targets
        if not share:
            return targets
        shares = nn.functional.one_hot(targets, self.num_classes).float() if targets.dim() == 1 else targets
        return (1 - share) * shares + share * shares.flip(0)

    def hits(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Whether the first class is the label, or the heavier of two that were mixed: (B,)."""
        heavier = targets if targets.dim() == 1 else targets.argmax(1)
        return {ACC1.key: outputs.detach().argmax(1) == heavier}

    def score(self, split: str, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """Add a batch to the split's scores; in the test to those of the maps, and to the tokens, too."""
        self._scores(split).update(outputs, targets)
        if split == "val":
            self.temperature_fit.update(outputs, targets)
        if split == "test":
            if self.fitted is not None:
                self.scaled_scores.update(outputs.float() / self.fitted, targets)
            self.map_scores.update(maps_of(self.model), batch)
            if (tokens := mean_tokens(self.model, self.device)) is not None:
                self.tokens.update(tokens)

    def results(self, split: str) -> dict[str, Tensor]:
        """The split's scores."""
        kept = self._scores(split)
        found = {f"{split}/{key}": self.in_its_unit(key, value) for key, value in kept.compute().items()}
        kept.reset()
        if split == "val":
            fitted = self.temperature_fit.compute()
            self.fitted = float(fitted) if fitted.isfinite() else None
            self.temperature_fit.reset()
        if self.fitted is not None:
            found |= self._scaled(split)
        if split == "test":
            found |= self.map_scores.compute()
            found |= {f"test/{TOKENS.key}": self.tokens.compute()} if self.tokens.update_called else {}
        return found

    def _scaled(self, split: str) -> dict[str, Tensor]:
        """The temperature, and in the test the scores at it."""
        found = {f"{split}/{TEMPERATURE.key}": torch.tensor(self.fitted)}
        if split == "test":
            kept = self.scaled_scores
            found |= {f"test/{key}": self.in_its_unit(key, value) for key, value in kept.compute().items()}
            kept.reset()
        return found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the temperature with the weights that it was fitted to."""
        checkpoint[TEMPERATURE.key] = self.fitted

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the temperature of these weights; None of those that were saved without one."""
        self.fitted = checkpoint.get(TEMPERATURE.key)

    def _scores(self, split: str) -> MetricCollection:
        return cast(MetricCollection, self.scores[f"{split}_scores"])

    def test_step(self, batch: Batch, number: int) -> None:
        """Score one batch of test images, also against all labels of each where the data set has several."""
        super().test_step(batch, number)
        if "label_sets" in batch:
            said = self.predictions["top1"][-1]
            self.keep_predictions({REAL_ACC1.key: among(said, batch["label_sets"].cpu())})

    def outcomes(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor | Ragged]:
        """The labels, what `metrics.classification.outcomes` keeps, the confidence at the temperature: (B,) each."""
        scaled = {} if self.fitted is None else {"confidence_t": (outputs.float() / self.fitted).softmax(1).amax(1)}
        return {"label": targets, **outcomes(outputs, targets), **scaled}

    def tables(self, predictions: Mapping[str, Any], classes: Sequence[str]) -> tuple[Tables, dict[str, float]]:
        """Each class's scores, `classes`; the confusion matrix, `confusion` (rows: true); means over classes, ranks."""
        counts = confusion(predictions["label"], predictions["top1"], len(classes))
        table = class_table(counts, classes)
        matrix = pd.DataFrame(counts, index=pd.Index(classes, name="class"), columns=list(classes)).reset_index()
        found = class_scores(table) | ranking_scores(predictions) | real_accuracy(predictions)
        return {"classes": table, "confusion": matrix}, {f"test/{key}": value for key, value in found.items()}

    def explained(self, batch: Batch) -> Tensor:
        """The labels (B,)."""
        return batch["label"]


def mean_softmax(*logits: Tensor) -> Tensor:
    """Logits (B, K) of the mean of several softmaxes."""
    return torch.stack([one.log_softmax(1) for one in logits]).logsumexp(0) - math.log(len(logits))
