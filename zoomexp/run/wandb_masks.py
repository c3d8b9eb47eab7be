"""Test images with what a segmenter says of their pixels and what is there, as W&B's mask overlays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoomexp.results.record import RunRecord

SHOWN = 16  # images, evenly spread


def segments(record: RunRecord, data: Any, classes: Sequence[str]) -> list[Any]:
    """Images with two layers of masks, `said` and `truth`.

    Args:
        record: of a finished run, whose network is asked once more: what it says of pixels is not kept.
        data: set up for the test.
        classes: names by label.
    """
    import torch
    import wandb

    from zoomexp.analysis.changed import spread
    from zoomexp.analysis.mask_sheet import masks_of_test, numbers_of
    from zoomexp.datasets.masked import IGNORED
    from zoomexp.run.stored_run import restored

    network, found = restored(record.folder), []
    names = dict(enumerate(classes)) | {IGNORED: "ignored"}
    for viewed in masks_of_test(data, spread(numbers_of(data), SHOWN)):
        with torch.inference_mode():
            said = network(viewed.image[None])[0].argmax(0)
        layers = {"said": said, "truth": viewed.truth}
        masks = {name: {"mask_data": np.asarray(mask, np.uint8), "class_labels": names}
                 for name, mask in layers.items() if mask is not None}  # fmt: skip
        pixels = (255 * viewed.pixels.permute(1, 2, 0).numpy()).round().astype(np.uint8)
        found.append(wandb.Image(pixels, masks=masks, caption=f"image {viewed.name}"))
    return found
