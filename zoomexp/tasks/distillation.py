"""Teaching a Zoomer what a vision transformer's relevance maps show."""

import logging
from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.functional import spearman_corrcoef

from zoomexp.errors import InputError
from zoomexp.metrics.declared import DISTILLATION, MSE
from zoomexp.protocols import gives_maps
from zoomexp.tasks.contract import Batch
from zoomexp.tasks.localising import MapScores
from zoomexp.tasks.training import TrainedModel
from zoomexp.tokens.ragged import Ragged
from zoomexp.training_protocols import compares_maps

log = logging.getLogger(__name__)

ERRORS = ("mse", "mae", "rank_correlation")
HIGH_RATE = 0.01


class ZoomerDistillation(TrainedModel):
    """One distillation run's steps and metrics. Batches are mappings with `image`, `map`, `index` and maybe `box`.

    Paper: "Vision Transformers Need Zoomer" (ICLR 2026 submission 6623), section 3.2. Metrics: `train|val|test/loss`,
    in training also each term of the loss; `val|test/mse` and `/mae`, with scores and maps in [0, 1]; and
    `/rank_correlation`, Spearman's over the cells of an image, mean over the images (0 where either is constant). In
    the test also the scores of `metrics.map_scores`: of the Zoomer, for example `test/pointing_game`, and of the
    teacher's maps (`test/pointing_game/teacher`), every other map in the batch, and the controls `centre_prior` and
    `random_prior`.

    Args:
        model: Images (B, C, H, W) to scores (B, S, S) in [0, 1]; says so with an attribute `gives_maps`.
        loss: Called with scores and maps; returns its terms by name.
        **common: As in `TrainedModel`; a Zoomer knows no classes, and nothing is mixed.

    Raises:
        InputError: For a model that gives no maps, or if images are to be mixed: their maps would not be.
    """

    quantities = DISTILLATION
    main = MSE

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.inputs = ("image", "map")
        errors = MetricCollection({name: MeanMetric() for name in ERRORS}, compute_groups=False)
        self.errors = nn.ModuleDict({f"{split}_errors": errors.clone(prefix=f"{split}/") for split in ("val", "test")})
        self.map_scores = MapScores()

    def check(self, mixing: Callable[..., Any] | None) -> None:
        """See `Raises`."""
        if not gives_maps(self.model):
            raise InputError(f"task=distill_zoomer: needs backbone=zoomer, got {type(self.model).__name__}")
        if mixing is not None:
            raise InputError("mixing: task=distill_zoomer cannot mix the teacher's maps; choose mixing=none")
        if not compares_maps(self.loss):
            raise InputError(f"loss={type(self.loss).__name__}: task=distill_zoomer needs loss=zoom_distillation")

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to scores (B, S, S)."""
        return self.model(images)

    def on_fit_start(self) -> None:
        """Warn of a rate that AdamW rarely survives."""
        optimizer = self.trainer.optimizers[0]
        rate = max(group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)
        if type(optimizer).__name__ == "AdamW" and rate >= HIGH_RATE:
            log.warning("optimizer.lr=%g is high for AdamW, though the paper's: if the loss stalls, try 1e-3", rate)

    def outputs(self, batch: Batch) -> Tensor:
        """Scores (B, S, S) of the images alone."""
        return self.model(batch["image"])

    def targets(self, batch: Batch) -> Tensor:
        """The teacher's maps (B, S, S)."""
        return batch["map"]

    def score(self, split: str, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """Add a batch to the split's errors; in the test its maps to the localisation, too."""
        scores, errors = outputs.float(), self._errors(split)
        errors["mse"].update((scores - targets).square().mean(), len(scores))
        errors["mae"].update((scores - targets).abs().mean(), len(scores))
        errors["rank_correlation"].update(rank_correlation(scores, targets))
        if split == "test":
            others = {name: maps[:, None] for name, maps in batch.items() if maps.shape == scores.shape}
            others["teacher"] = others.pop("map")
            self.map_scores.update({"zoomer": scores[:, None], **others}, batch)

    def results(self, split: str) -> dict[str, Tensor]:
        """The split's errors, in the test also the localisation."""
        errors = self._errors(split)
        found = dict(errors.compute())
        errors.reset()
        return found | (self.map_scores.compute(counted=("zoomer",)) if split == "test" else {})

    def _errors(self, split: str) -> MetricCollection:
        return cast(MetricCollection, self.errors[f"{split}_errors"])

    def outcomes(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor | Ragged]:
        """Each image's error: (B,)."""
        return {MSE.key: (outputs.float() - targets).square().mean((1, 2))}


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
