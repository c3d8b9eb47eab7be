"""Which prediction stands for which object of an image: the one-to-one assignment of least cost.

"End-to-End Object Detection with Transformers" (DETR, Carion et al., ECCV 2020, arXiv 2005.12872), unchanged in YOLOS:

    C_ij = a (-softmax(logits_i)[class_j]) + b |box_i - box_j|_1 - c GIoU(box_i, box_j)

The costs of a batch are one tensor in single precision, and reach the CPU in one copy; scipy solves each image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from zoomexp.boxes import Detections, Objects, corners, generalized_iou


class Costs(NamedTuple):
    """Weights of the costs: of the class's probability, the boxes' distance and their generalized IoU."""

    label: float = 1.0
    box: float = 5.0
    giou: float = 2.0


@torch.no_grad()
def match(said: Detections, there: Objects, costs: Costs) -> tuple[Tensor, Tensor]:
    """Pair predictions with objects, each at most once; of an image with more objects than predictions some have none.

    Args:
        said: B x N predictions.
        there: T objects of the same images.
        costs: the weights.

    Returns:
        Rows of predictions, in the flattened (B x N), and of objects, in the T: (M,) int64 each, on the device.
    """
    width = said.logits.shape[1]
    rows, columns, first = [], [], 0
    for image, (cost, count) in enumerate(zip(_costs(said, there, costs).cpu().numpy(), there.counts, strict=True)):
        row, column = linear_sum_assignment(cost[:, :count])
        rows.append(torch.from_numpy(row) + image * width)
        columns.append(torch.from_numpy(column) + first)
        first += count
    pairs = torch.stack([torch.cat(rows), torch.cat(columns)]).to(said.logits.device)
    return pairs[0], pairs[1]


def _costs(said: Detections, there: Objects, costs: Costs) -> Tensor:
    """(B, N, most objects of an image); what is beyond an image's own is without meaning."""
    images, most = len(there.counts), max(there.counts)
    places = _places(there.counts, most, said.boxes.device)
    own = torch.cat([there.boxes.float(), said.boxes.new_zeros(1, 4, dtype=torch.float32)])[places]  # (B, most, 4)
    labels = torch.cat([there.labels, there.labels.new_zeros(1)])[places]
    boxes, shares = said.boxes.float(), said.logits.float().softmax(2)
    by_label = shares.gather(2, labels[:, None].expand(images, boxes.shape[1], most))
    apart = torch.cdist(boxes, own, p=1)
    overlap = generalized_iou(corners(boxes)[:, :, None], corners(own)[:, None])
    total = costs.box * apart - costs.label * by_label - costs.giou * overlap
    return total.nan_to_num(1e9, 1e9, -1e9)  # scipy refuses NaN; the loss, which has it too, is what tells of it


def _places(counts: Sequence[int], most: int, device: torch.device) -> Tensor:
    """(B, most) int64: the row of each object among all T; T where an image has no more."""
    total, first, places = sum(counts), 0, []
    for count in counts:
        places.append([*range(first, first + count), *[total] * (most - count)])
        first += count
    return torch.tensor(places, dtype=torch.int64, device=device).view(len(counts), most)
