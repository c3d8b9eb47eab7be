"""Training and testing an object detector (YOLOS; DETR's protocol): all boxes are scored, no suppression."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from zoomexp.boxes import Detections, Objects, centred
from zoomexp.errors import InputError
from zoomexp.metrics.average_precision import hits
from zoomexp.metrics.declared import AP, DETECTION, TOKENS
from zoomexp.metrics.detection import Precision, objects_by_class, said_of
from zoomexp.protocols import gives_boxes, mean_tokens
from zoomexp.tasks.contract import Batch
from zoomexp.tasks.scene_batches import boxes_by_image, objects_in, scored_sizes, sides_of, sizes_of
from zoomexp.tasks.training import TrainedModel
from zoomexp.tokens.ragged import Ragged
from zoomexp.training_protocols import compares_boxes


class Detection(TrainedModel):
    """One training run's steps and scores.

    Batches are those of `scene_batches`.

    Args:
        model: A detector, images to `Detections`.
        loss: `SetPrediction`, or what takes the same.
        **common: As in `TrainedModel`; images with boxes are not mixed.

    Raises:
        InputError: A network that says no boxes, a loss of another kind, mixing, or no package to score with.
    """

    quantities = DETECTION
    main = AP

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.found = nn.ModuleDict({split: Precision() for split in ("val", "test")})
        self.tokens = MeanMetric()

    def check(self, mixing: Callable[..., Any] | None) -> None:
        """See `Raises`."""
        if not gives_boxes(self.model):
            raise InputError("task=detection: the network says no boxes; choose detector=yolos")
        if not compares_boxes(self.loss):
            raise InputError(f"loss={type(self.loss).__name__}: compares no boxes; choose loss=set_prediction")
        if mixing is not None:
            raise InputError("mixing: images with boxes are not mixed; mixing=none")

    def outputs(self, batch: Batch) -> Detections:
        """What the network says of the images."""
        found: Detections = self.model(*self.read(batch).values())
        return found

    def read(self, batch: Batch) -> dict[str, Tensor]:
        """Images, their sizes, and to an oracle the objects' boxes in their pixels."""
        read = {"image": batch["image"], "size": sizes_of(batch)}
        if "truth" in self.inputs:
            read["truth"] = boxes_by_image(objects_in(batch, read["size"]))
        return {name: read[name] for name in self.inputs}

    def targets(self, batch: Batch) -> Objects:
        """The objects, crowds left out."""
        size = sizes_of(batch)
        there = objects_in(batch, size)
        shares = there.boxes / sides_of(size, there.counts, there.boxes)
        if not there.crowd.any():
            return Objects(centred(shares), there.labels, there.counts)
        single = ~there.crowd
        counts = [int(part.sum()) for part in single.split(there.counts)]
        return Objects(centred(shares[single]), there.labels[single], counts)

    def score(self, split: str, outputs: Detections, targets: Objects, batch: Batch) -> None:
        """Add a batch to the split's scores, in pixels of the files; in the test to the tokens, too."""
        size = scored_sizes(batch)
        self._scored = said_of(outputs, size), objects_in(batch, size)
        self._names = {"image_id": batch["image_id"]} if "image_id" in batch else {}
        self._precision(split).update(*self._scored)
        if split == "test" and (tokens := mean_tokens(self.model, self.device)) is not None:
            self.tokens.update(tokens)

    def results(self, split: str) -> dict[str, Tensor]:
        """The split's scores."""
        found = {f"{split}/{name}": value for name, value in self._precision(split).compute().items()}
        self._precision(split).reset()
        if split == "test" and self.tokens.update_called:
            found[f"test/{TOKENS.key}"] = self.tokens.compute()
        return found

    def _precision(self, split: str) -> Precision:
        return cast(Precision, self.found[split])

    def outcomes(self, outputs: Detections, targets: Objects) -> dict[str, Tensor | Ragged]:
        """What `metrics.average_precision` takes AP of any images of; of the batch that was scored last.

        `boxes` (B, N, 4), `scores` and `labels` (B, N), `found` (B, N, 10), `objects` (B, K).
        """
        said, there = self._scored
        of_images = zip(*(values.split(list(there.counts)) for values in there[:3]), strict=True)
        found = [
            hits(*(one.cpu().numpy() for one in (*said_of_image, *there_of_image)))
            for said_of_image, there_of_image in zip(zip(*said, strict=True), of_images, strict=True)
        ]
        kept = self._names | {"boxes": said.boxes, "scores": said.scores, "labels": said.labels}
        return kept | {"found": torch.from_numpy(np.stack(found)), "objects": objects_by_class(there, self.num_classes)}

    def pictures(self, batch: Batch, count: int, data: Any) -> dict[str, Tensor]:
        """The first images just scored, (n, 3, H, W): `boxes`, and over the patches that were chosen `patches`."""
        from zoomexp.tasks.scene_pictures import drawn_scenes  # takes what only drawing needs

        return drawn_scenes(self.model, batch, *self._scored, count, data)
