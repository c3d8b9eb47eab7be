"""Testing a classifier on nine enlarged crops of every image: the toy experiment that motivates ZoomViT.

Paper: "Vision Transformers Need Zoomer" (ICLR 2026 submission 6623), section F.7 and table 14: an image is enlarged to
384 x 384 pixels and cut into 3 x 3 overlapping crops of 224, and counts as right if any of the nine is. That is an
oracle, not an accuracy: the label picks the crop, and a model that guesses has nine guesses. So the accuracy of the
mean prediction, which needs no label, stands beside it.

Deviation: the crops come from the image as the model is shown it, enlarged bilinearly, not from the file's own pixels.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from zoomexp.errors import InputError
from zoomexp.metrics.declared import NINE_CROP
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.contract import Batch

ENLARGED = 12 / 7  # 224 to 384


class NineCrop(Classifier):
    """A classifier that is tested on crops, too, at ten forwards an image. All else, `test/acc1` too, is as it was.

    Further metrics, percent: `test/any_crop`, images of which any crop is right; `test/crop_mean`, the accuracy of the
    mean of the nine softmaxes. The cost that is recorded is that of one forward.

    Args:
        **common: as in `Classifier`.

    Raises:
        InputError: a model that reads more of a batch than its images.
    """

    quantities = (*Classifier.quantities, *NINE_CROP)

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        if tuple(self.inputs) != ("image",):
            raise InputError(f"task=nine_crop: the model must read images alone, and reads {', '.join(self.inputs)}")
        self.crops = nn.ModuleDict({"any_crop": MeanMetric(), "crop_mean": MeanMetric()})

    def test_step(self, batch: Batch, index: int) -> None:
        """Score one batch of test images, then their crops."""
        super().test_step(batch, index)  # first, because the crops leave maps of their own in the model
        labels = batch["label"]
        right = torch.zeros_like(labels, dtype=torch.bool)
        mean: Any = 0.0
        for crop in nine_crops(batch["image"]):
            logits = self(crop).float()
            right |= logits.argmax(1) == labels
            mean = mean + logits.softmax(1)
        cast(MeanMetric, self.crops["any_crop"]).update(right.float())
        cast(MeanMetric, self.crops["crop_mean"]).update((mean.argmax(1) == labels).float())

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        super().on_test_epoch_end()
        for name, kept in self.crops.items():
            metric = cast(MeanMetric, kept)
            self.log(f"test/{name}", 100 * metric.compute())
            metric.reset()


def nine_crops(images: Tensor) -> Iterator[Tensor]:
    """Enlarge images by 12/7 and cut them 3 x 3, row by row.

    Args:
        images: (B, C, S, S).

    Yields:
        (B, C, S, S), nine times; at S = 224 they begin at 0, 80 and 160 of 384 pixels.
    """
    size = images.shape[-1]
    side = round(size * ENLARGED)
    large = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    starts = (0, (side - size) // 2, side - size)
    for top in starts:
        for left in starts:
            yield large[:, :, top : top + size, left : left + size]
