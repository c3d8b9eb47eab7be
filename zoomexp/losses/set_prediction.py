"""Set prediction: predictions are matched with the objects one to one, and learn from their partners (DETR, YOLOS).

See `matching` for the assignment. With n objects in the whole batch, at least 1, and its weights likewise (of processes
that share it, the mean of what each has):

    class    cross-entropy of all B x N predictions; those without a partner learn "no object", whose weight is `eos`
    box      sum |box - partner|_1 / n
    giou     sum (1 - GIoU(box, partner)) / n

each times its weight. No auxiliary losses of inner blocks, no focal loss (YOLOS has neither).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import number
from zoomexp.boxes import Detections, Objects, corners, generalized_iou
from zoomexp.losses.all_processes import of_a_process
from zoomexp.losses.matching import Costs, match


class SetPrediction(nn.Module):
    """The loss of a detector.

    Args:
        label_cost: weight of the class in the matching, at least 0.
        box_cost: weight of the boxes' distance in it, at least 0.
        giou_cost: weight of generalized IoU in it, at least 0.
        label_weight: of the term `class`, at least 0.
        box_weight: of the term `box`, at least 0.
        giou_weight: of the term `giou`, at least 0.
        eos: weight of "no object" beside 1 for every class, at least 0.

    Raises:
        InputError: A number out of its range.
    """

    waits_for_host = True
    compares_boxes = True  # and not classes of images

    def __init__(
        self,
        label_cost: float = 1.0,
        box_cost: float = 5.0,
        giou_cost: float = 2.0,
        label_weight: float = 1.0,
        box_weight: float = 5.0,
        giou_weight: float = 2.0,
        eos: float = 0.1,
    ) -> None:
        super().__init__()
        given = {"label_cost": label_cost, "box_cost": box_cost, "giou_cost": giou_cost, "label_weight": label_weight}
        for field, value in (given | {"box_weight": box_weight, "giou_weight": giou_weight, "eos": eos}).items():
            number(f"loss.{field}", value, 0)
        self.costs = Costs(label_cost, box_cost, giou_cost)
        self.weights, self.eos = Costs(label_weight, box_weight, giou_weight), eos

    def forward(self, said: Detections, there: Objects) -> dict[str, Tensor]:
        """Scalars `class`, `box` and `giou`, weighted, in single precision."""
        chosen, partners = match(said, there, self.costs)
        boxes = said.boxes.float().flatten(0, 1).index_select(0, chosen)
        wanted = there.boxes.float().index_select(0, partners)
        count = of_a_process(boxes.new_tensor(float(len(there.boxes)))).clamp(min=1)
        apart = (boxes - wanted).abs().sum() / count
        missed = (1 - generalized_iou(corners(boxes), corners(wanted))).sum() / count
        return {
            "class": self.weights.label * self._class(said.logits.float(), there.labels, chosen, partners),
            "box": self.weights.box * apart,
            "giou": self.weights.giou * missed,
        }

    def _class(self, logits: Tensor, labels: Tensor, chosen: Tensor, partners: Tensor) -> Tensor:
        """Cross-entropy of logits (B, N, K + 1), divided by the sum of the weights."""
        nothing = logits.shape[2] - 1
        targets = labels.new_full((logits.shape[0] * logits.shape[1],), nothing)
        targets = targets.index_copy(0, chosen, labels.index_select(0, partners))
        weights = logits.new_ones(nothing + 1)
        weights[-1] = self.eos
        sums = F.cross_entropy(logits.flatten(0, 1), targets, weights, reduction="sum")
        # With `eos` 0 and no object in the batch it is 0, and not 0 / 0.
        return sums / of_a_process(weights.index_select(0, targets).sum()).clamp(min=torch.finfo(sums.dtype).tiny)
