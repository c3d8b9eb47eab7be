"""Tests a network on its first test images under noise, blur, weather and digital faults."""

import sys
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from zoomexp.arguments import integer
from zoomexp.callbacks.robustness import classifies_images, images_of_process, padded
from zoomexp.errors import InputError
from zoomexp.processes import first_process
from zoomexp.relevance.extraction import told
from zoomexp.robustness.corruptions import KINDS, LEAST, SEVERITIES, check_installed, corrupted, mce, mean_scores
from zoomexp.robustness.pixels import Pixels
from zoomexp.tasks.contract import Batch, Task, task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.trainer_parts import data_of

FIELD = "callbacks.corruptions"
EVERY = [(kind, severity) for kind in KINDS for severity in SEVERITIES]


class Corruptions(NoBatchHooks, pl.Callback):
    """Logs `test/corrupted/...`, accuracies in percent; nothing else that the test measures changes.

    `<kind>@<severity>` of each of fifteen kinds and five severities, `noise`, `blur`, `weather`, `digital` and `mean`,
    the means over kinds and severities; for ImageNet also `test/mce`. Images are corrupted as the network sees them,
    cut and resized, and keep eight bits a channel. `predictions.npz` has `corrupted/mean` of each image, in percent of
    its versions; NaN where it was not tested. Of several processes each tests `images`, and their scores are averaged.

    Args:
        images: How many; each has 75 versions.

    Raises:
        InputError: A number below 1.
    """

    def __init__(self, images: int = 200) -> None:
        integer(f"{FIELD}.images", images)
        self.images = images
        self._right: list[Tensor] = []
        self._left = images

    def check_run(self, trainer: pl.Trainer, task: Task, data: Any) -> None:
        """Refuse, before anything is written, what cannot be tested so.

        Raises:
            InputError: No classifier of images alone, images that are too small, or libraries that are not installed.
        """
        check_installed(FIELD)
        if not classifies_images(task):
            raise InputError(f"{FIELD}: needs a network that gives each image one class and reads nothing else")
        if data.image_size < LEAST:
            raise InputError(f"dataset.image_size={data.image_size}: {FIELD} needs images of {LEAST} pixels and more")

    def on_test_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Begin anew."""
        self._right.clear()
        self._left = images_of_process(trainer, self.images)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Test a batch's images, if there are too few yet."""
        data, size = data_of(trainer), len(batch["image"])
        net = Pixels(task_of(pl_module).model, data.mean, data.std).to(pl_module.device)
        count, begun = min(self._left, size), len(self._right)
        with trainer.precision_plugin.forward_context():
            for line in told(self._images(net, batch, count), f"corruptions, from image {begun + 1}"):
                if first_process():
                    sys.stderr.write(f"{line}\n")
        self._left -= count
        shares = [100 * right.float().mean() for right in self._right[begun:]]
        values = torch.stack(shares) if shares else torch.zeros(0)
        cast(Any, pl_module).keep_predictions({"corrupted/mean": padded(values, size)})

    def _images(self, net: Pixels, batch: Batch, count: int) -> Iterator[tuple[int, int]]:
        """Test `count` images; yields how many are done, and how many are left of the whole test."""
        pixels = (255 * net.of(batch["image"][:count])).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for position in range(count):
            index = int(batch["index"][position])
            versions = np.stack([corrupted(pixels[position], kind, severity, index) for kind, severity in EVERY])
            shown = torch.from_numpy(versions).permute(0, 3, 1, 2).to(net.mean.device).float() / 255
            self._right.append((net.says(shown) == batch["label"][position]).cpu())
            yield position + 1, self._left

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the scores."""
        rates = 100 * torch.stack(self._right).float().mean(0)
        accuracy = dict(zip(EVERY, rates.tolist(), strict=True))
        scores = {f"test/corrupted/{name}": value for name, value in mean_scores(accuracy).items()}
        if getattr(data_of(trainer), "name", None) == "imagenet":
            scores["test/mce"] = mce(accuracy)
        pl_module.log_dict(scores, sync_dist=True)
