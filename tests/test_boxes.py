"""Boxes against torchvision's."""

import torch
from torchvision.ops import box_convert, generalized_box_iou

from zoomexp.boxes import centred, corners, generalized_iou


def test_forms_and_overlap_are_torchvisions():
    draw = torch.Generator().manual_seed(0)
    boxes, others = torch.rand(20, 4, generator=draw) + 0.01, torch.rand(30, 4, generator=draw) + 0.01
    one, other = corners(boxes), corners(others)
    torch.testing.assert_close(one, box_convert(boxes, "cxcywh", "xyxy"))
    torch.testing.assert_close(centred(one), boxes)
    torch.testing.assert_close(generalized_iou(one[:, None], other), generalized_box_iou(one, other))
