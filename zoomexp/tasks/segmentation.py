"""Training and testing a network that says the class of every pixel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

from zoomexp.datasets.masked import IGNORED
from zoomexp.errors import InputError
from zoomexp.insertion import attention_maps
from zoomexp.metrics.declared import MIOU, SEGMENTATION
from zoomexp.metrics.segmentation import EdgeIoU, class_scores, image_counts
from zoomexp.protocols import gives_pixels, needs_maps
from zoomexp.tasks.contract import Batch, Tables
from zoomexp.tasks.training import TrainedModel
from zoomexp.tokens.ragged import Ragged
from zoomexp.training_protocols import compares_pixels


class Segmentation(TrainedModel):
    """One training run's steps and scores.

    Batches are those of `datasets.masked`.

    Args:
        model: Images (B, C, H, W) to logits (B, K, H, W).
        loss: `CrossEntropyDice`, or what takes the same.
        **common: As in `TrainedModel`; images with masks are not mixed.

    Raises:
        InputError: A network that says no pixels, a loss of another kind or without the maps that it needs, or mixing.
    """

    quantities = SEGMENTATION
    main = MIOU

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        kinds = {
            "miou": MulticlassJaccardIndex(self.num_classes, ignore_index=IGNORED),
            "acc_pixel": MulticlassAccuracy(self.num_classes, average="micro", ignore_index=IGNORED),
            "dice_score": MulticlassF1Score(self.num_classes, ignore_index=IGNORED),
        }
        # One group each: what they count differs, and finding that out takes a batch's work twice.
        scores = {split: MetricCollection({**kinds}, compute_groups=False).clone() for split in ("val", "test")}
        self.scores = nn.ModuleDict({f"{split}_scores": kept for split, kept in scores.items()})
        self.edges = nn.ModuleDict({f"{split}_edges": EdgeIoU(self.num_classes) for split in ("val", "test")})

    def check(self, mixing: Callable[..., Any] | None) -> None:
        """See `Raises`."""
        if not gives_pixels(self.model):
            raise InputError("task=segmentation: the network says no pixels; choose decoder=fcn, unet, fpn or upernet")
        if not compares_pixels(self.loss):
            kind = type(self.loss).__name__
            raise InputError(f"loss={kind}: compares no pixels; choose loss=cross_entropy_dice")
        if needs_maps(self.loss) and not self.has_maps():
            raise InputError("loss.sparsity: needs a module with a map, and the network has none; loss.sparsity=0")
        if mixing is not None:
            raise InputError("mixing: images with masks are not mixed; mixing=none")

    def has_maps(self) -> bool:
        """Whether the network's modules leave maps; it has seen images when it was built."""
        return bool(attention_maps(self.model))

    def targets(self, batch: Batch) -> Tensor:
        """The class of every pixel, (B, H, W) int64."""
        return batch["pixel_label"].long()

    def losses(self, outputs: Tensor, targets: Tensor, epoch: float | Tensor) -> dict[str, Tensor]:
        """The loss's terms of logits (B, K, H, W), classes (B, H, W) and the inserted modules' maps."""
        return self.loss(outputs, targets, maps=attention_maps(self.model))

    def score(self, split: str, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """Add a batch to the split's scores."""
        self._said = said = outputs.argmax(1)
        self._counts = image_counts(said, targets, self.num_classes)
        self._scores(split).update(said, targets)
        self._edges(split).update(self._counts)

    def results(self, split: str) -> dict[str, Tensor]:
        """The split's scores."""
        found = dict(self._scores(split).compute()) | {"boundary_iou": self._edges(split).compute()}
        self._scores(split).reset()
        self._edges(split).reset()
        return {f"{split}/{key}": self.in_its_unit(key, value.float()) for key, value in found.items()}

    def _scores(self, split: str) -> MetricCollection:
        return cast(MetricCollection, self.scores[f"{split}_scores"])

    def _edges(self, split: str) -> EdgeIoU:
        return cast(EdgeIoU, self.edges[f"{split}_edges"])

    def outcomes(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor | Ragged]:
        """Of the batch that was scored last the pixels of each class, (B, K) each (`metrics.segmentation.COUNTS`)."""
        return {**self._counts}

    def pictures(self, batch: Batch, count: int, data: Any) -> dict[str, Tensor]:
        """The first images just scored, (n, 3, H, W): `truth`, `said`, and the maps of the network's modules."""
        from zoomexp.tasks.mask_pictures import drawn_masks  # takes what only drawing needs

        images, truth = batch["image"][:count], self.targets(batch)[:count]
        return drawn_masks(images, self._said[:count], truth, data) | super().pictures(batch, count, data)

    def tables(self, predictions: Mapping[str, Any], classes: Sequence[str]) -> tuple[Tables, dict[str, float]]:
        """Each class's scores, `classes`."""
        return {"classes": class_scores(predictions, list(classes))}, {}
