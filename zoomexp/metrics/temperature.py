"""Temperature scaling: the one number that logits are divided by so that held-out images are least surprising.

Guo et al. 2017 (arXiv 1706.04599), section 4.2: T = argmin of the mean negative log-likelihood of softmax(z / T). It
changes no prediction, only how sure each is; what calibration error is left says more of a network than how long it was
trained, which the raw one mostly measures.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

SPAN, STEP = math.log(20), math.log(20) / 30  # of ln T: from 1/20 to 20, a tenth between two


class Temperature(Metric):
    """T over a split, from the sums of the likelihood at 61 temperatures: no logits are held.

    Between them the mean is taken for a parabola of ln T, which is exact to a few thousandths of T.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        steps = round(SPAN / STEP)
        self.logs = [STEP * step for step in range(-steps, steps + 1)]
        self.add_state("sums", torch.zeros(len(self.logs), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits (B, K) of images with labels (B,)."""
        logits = logits.float()
        over = logits - logits.gather(1, labels[:, None])  # the likelihood is -logsumexp of these
        sums = [(over / math.exp(log)).logsumexp(1).double().sum() for log in self.logs]
        self.sums += torch.stack(sums).to(self.sums)

    def compute(self) -> Tensor:
        """T, a scalar in (1/20, 20); NaN where all images are right, all is chance, or a logit is not finite."""
        sums = self.sums.tolist()
        place = min(range(len(sums)), key=sums.__getitem__)
        if not all(map(math.isfinite, sums)) or place in (0, len(sums) - 1):
            return torch.tensor(float("nan"), device=self.sums.device)
        before, least, after = sums[place - 1 : place + 2]
        bend = before - 2 * least + after
        log = self.logs[place] + (STEP * (before - after) / (2 * bend) if bend > 0 else 0.0)
        return torch.tensor(math.exp(log), device=self.sums.device)
