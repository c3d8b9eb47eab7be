"""Teaching a Zoomer what a vision transformer's relevance maps show."""

import logging
from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.functional import spearman_corrcoef

from zoomexp.errors import InputError
from zoomexp.tasks.localising import MapScores
from zoomexp.tasks.training import TrainedModel

log = logging.getLogger(__name__)

Batch = Mapping[str, Tensor]
ERRORS = ("mse", "mae", "rank_correlation")
HIGH_RATE = 0.01


class ZoomerDistillation(TrainedModel):
    """One distillation run's steps and metrics. Batches are mappings with `image`, `map`, `index` and maybe `box`.

    Paper: "Vision Transformers Need Zoomer" (ICLR 2026 submission 6623), section 3.1. Metrics: `train|val|test/loss`,
    in training also each term of the loss; `val|test/mse` and `/mae`, with scores and maps in [0, 1]; and
    `/rank_correlation`, Spearman's over the cells of an image, mean over the images (0 where either is constant). In
    the test also the scores of `metrics.map_scores`: of the Zoomer, for example `test/pointing_game`, and of the
    teacher's maps (`test/pointing_game/teacher`), every other map in the batch, and the controls `centre_prior` and
    `random_prior`.

    Args:
        model: Images (B, C, H, W) to scores (B, S, S) in [0, 1]; says so with an attribute `gives_maps`.
        loss: Called with scores and maps; returns its terms by name.
        optimizer: Builds the optimizer from the model.
        scheduler: Builds a schedule by epoch from the optimizer; None keeps the rate.
        num_classes: Not used: a Zoomer knows no classes.
        seed: Seeds the random numbers of every epoch anew, so that a resumed run draws what the uninterrupted one did.
        mixing: None; see `Raises`.

    Raises:
        InputError: For a model that gives no maps, or if images are to be mixed: their maps would not be.
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
        if not getattr(model, "gives_maps", False):
            raise InputError(f"task=distill_zoomer: needs backbone=zoomer, got {type(model).__name__}")
        if mixing is not None:
            raise InputError("mixing: task=distill_zoomer cannot mix the teacher's maps; choose mixing=none")
        if not getattr(loss, "compares_maps", False):
            raise InputError(f"loss={type(loss).__name__}: task=distill_zoomer needs loss=zoom_distillation")
        super().__init__(model, loss, optimizer, scheduler, seed)
        self.inputs = ("image", "map")
        errors = MetricCollection({name: MeanMetric() for name in ERRORS}, compute_groups=False)
        self.errors = nn.ModuleDict({f"{split}_errors": errors.clone(prefix=f"{split}/") for split in ("val", "test")})
        self.map_scores = MapScores()

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to scores (B, S, S)."""
        return self.model(images)

    def on_fit_start(self) -> None:
        """Warn of a rate that AdamW rarely survives."""
        optimizer = self.trainer.optimizers[0]
        rate = max(group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)
        if type(optimizer).__name__ == "AdamW" and rate >= HIGH_RATE:
            log.warning("optimizer.lr=%g is high for AdamW, though the paper's: if the loss stalls, try 1e-3", rate)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The sum of the loss terms on one batch."""
        terms = self.loss(self.model(batch["image"]), batch["map"])
        return self.counted(terms, len(batch["image"]))

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score one batch of held-out images."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, _: int) -> None:
        """Score one batch of test images and their maps, and keep each one's error."""
        scores = self._evaluate(batch, "test")
        error = (scores - batch["map"]).square().mean((1, 2))
        self.keep_predictions(index=batch["index"], label=batch["label"], mse=error)
        others = {name: maps[:, None] for name, maps in batch.items() if maps.shape == scores.shape}
        others["teacher"] = others.pop("map")
        self.map_scores.update({"zoomer": scores[:, None], **others}, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the split's errors."""
        self._log_split("val")

    def on_test_epoch_end(self) -> None:
        """Log the split's errors and the localisation."""
        self._log_split("test")
        self.log_dict(self.map_scores.compute(counted=("zoomer",)))

    def _evaluate(self, batch: Batch, split: str) -> Tensor:
        """Keep a batch's loss and errors; returns its scores in single precision."""
        scores, maps = self.model(batch["image"]).float(), batch["map"]
        self.keep_loss(split, self.loss(scores, maps), len(scores))
        errors = self.errors[f"{split}_errors"]
        errors["mse"].update((scores - maps).square().mean(), len(scores))
        errors["mae"].update((scores - maps).abs().mean(), len(scores))
        errors["rank_correlation"].update(rank_correlation(scores, maps))
        return scores

    def _log_split(self, split: str) -> None:
        errors = self.errors[f"{split}_errors"]
        self.log_dict(errors.compute())
        errors.reset()
        self.log_loss(split)


def rank_correlation(scores: Tensor, maps: Tensor) -> Tensor:
    """Spearman's rank correlation over the cells of each image.

    Args:
        scores: (B, S, S).
        maps: (B, S, S).

    Returns:
        (B,) in [-1, 1]; 0 where either is constant.

    >>> import torch
    >>> rank_correlation(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[[0.1, 0.2], [0.5, 0.3]]]))
    tensor([0.8000])
    """
    columns = (values.flatten(1).double().T for values in (scores, maps))
    return spearman_corrcoef(*columns).reshape(-1).float().nan_to_num(0.0)
