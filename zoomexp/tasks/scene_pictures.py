"""Boxes drawn over the images that a detector was just shown, with the patches beneath that it chose."""

from typing import Any

import torch
from torch import Tensor, nn

from zoomexp.analysis.boxes_over import drawn_scene
from zoomexp.analysis.overlay import enlarged
from zoomexp.analysis.patch_map import cells_on
from zoomexp.analysis.viewed import to_look_at
from zoomexp.metrics.detection import Said, There
from zoomexp.tasks.contract import Batch
from zoomexp.tasks.scene_batches import scored_sizes, sizes_of


def drawn_scenes(net: nn.Module, batch: Batch, said: Said, there: There, count: int, data: Any) -> dict[str, Tensor]:
    """The first images of a batch: objects in green, boxes that are fairly sure in yellow.

    Args:
        net: after its forward on the batch.
        batch: images of maybe several sizes, filled up to one.
        said: its boxes, in pixels of the files.
        there: the objects, likewise.
        count: how many images.
        data: has `mean` and `std`, and maybe `classes`.

    Returns:
        `boxes` (n, 3, H, W) in [0, 1]; of ZoomViT's tokens also `patches`, the same over coarse and fine patches.
    """
    images = batch["image"][:count].detach().float().cpu()
    plain = [enlarged(to_look_at(image, data.mean, data.std)) for image in images]
    beneath = {"boxes": plain}
    if looks := getattr(net, "looks", None):
        sizes = sizes_of(batch)[:count].tolist()
        beneath["patches"] = [_with_patches(picture, looks, i, sizes[i], images.shape[2:])
                              for i, picture in enumerate(plain)]  # fmt: skip
    factor = plain[0].shape[1] / images.shape[2]
    scales = (factor * sizes_of(batch)[:, 0] / scored_sizes(batch)[:, 0]).tolist()
    truths, classes = there.boxes.split(list(there.counts)), getattr(data, "classes", ())
    own = [tuple(values[i].cpu() for values in said) for i in range(len(images))]
    return {
        name: torch.stack([drawn_scene(picture, own[i], truths[i].cpu(), classes, scales[i])
                           for i, picture in enumerate(pictures)])
        for name, pictures in beneath.items()
    }  # fmt: skip


def _with_patches(picture: Tensor, looks: Any, image: int, size: list[int], filled: torch.Size) -> Tensor:
    """The picture (3, H, W) of an image with its patches, where there is an image and not what fills up the batch."""
    for rows, look in looks:
        places = list(range(len(look.scores)) if isinstance(rows, slice) else rows)
        if image in places:
            height, width = (picture.shape[1 + axis] * size[axis] // filled[axis] for axis in (0, 1))
            drawn = picture.clone()
            drawn[:, :height, :width] = cells_on(picture[:, :height, :width], *look.patches(places.index(image)))
            return drawn
    return picture
