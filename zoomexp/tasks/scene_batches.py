"""The objects of a batch, whether its images have one each or any number: what detection learns and scores.

Batches have `image`, `index`, and either `size`, `count`, `boxes` and `labels` (see `datasets.scenes`), with `crowd`
(T,), `area` (T,) and `file_size` (B, 2) where they differ from nothing, the boxes' own area and `size`; or, of sets
with one object an image, `box` (B, 4) and `label` (B,): a box without area is no object.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoomexp.metrics.detection import There
from zoomexp.tasks.contract import Batch


def sizes_of(batch: Batch) -> Tensor:
    """Height and width of each image in the batch, (B, 2)."""
    if "size" in batch:
        size: Tensor = batch["size"]
        return size
    image = batch["image"]
    return torch.tensor(image.shape[2:], device=image.device).expand(len(image), 2)


def scored_sizes(batch: Batch) -> Tensor:
    """Height and width of the images in whose pixels boxes are scored, (B, 2): the files', where they are known."""
    return batch["file_size"] if "file_size" in batch else sizes_of(batch)


def objects_in(batch: Batch, size: Tensor) -> There:
    """The objects in pixels of images of a size (B, 2), height and width."""
    if "boxes" not in batch:
        batch = _single(batch)
    boxes, counts = batch["boxes"], batch["count"].tolist()
    boxes = boxes * (sides_of(size, counts, boxes) / sides_of(sizes_of(batch), counts, boxes))
    crowd = batch.get("crowd", torch.zeros_like(batch["labels"])).bool()
    area = batch.get("area", (boxes[:, 2:] - boxes[:, :2]).prod(1))
    return There(boxes, batch["labels"], crowd, area, counts)


def boxes_by_image(there: There) -> Tensor:
    """The objects' boxes but crowds, (B, M, 4), filled up with boxes without area to the most that an image has."""
    single = (~there.crowd.bool()).split(list(there.counts))
    own = [boxes[kept] for boxes, kept in zip(there.boxes.split(list(there.counts)), single, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(own, batch_first=True)


def sides_of(size: Tensor, counts: Sequence[int], like: Tensor) -> Tensor:
    """Width, height, width, height of each object's image, (T, 4), for sizes (B, 2)."""
    rows = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(like.device)
    return size.to(like).flip(1).repeat(1, 2)[rows]


def _single(batch: Batch) -> dict[str, Any]:
    """A batch of images with one `box` and one `label` each, as one of images with several objects."""
    box = batch["box"]
    is_there = (box[:, 2:] > box[:, :2]).all(1)
    return {**batch, "boxes": box[is_there], "labels": batch["label"][is_there], "count": is_there.long()}
