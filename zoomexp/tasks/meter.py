"""Training averages that stay on the device: reading them once a log interval is the only synchronisation."""

import torch
from torch import Tensor

from zoomexp.errors import DivergedError


class TrainingMeter:
    """Sums of loss terms and correct answers since `reset`, and the first step whose loss was not finite."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.images = 0
        self.sums: dict[str, Tensor] = {}
        self.correct = torch.zeros((), device=self.device)
        self.bad_step = torch.full((), -1, device=self.device)

    @torch.no_grad()
    def update(self, terms: dict[str, Tensor], loss: Tensor, logits: Tensor, target: Tensor, step: int) -> None:
        """Add one batch: scalar terms and their sum `loss`, logits (B, K), targets (B,), the global step."""
        self.images += len(target)
        for name, value in {"loss": loss, **(terms if len(terms) > 1 else {})}.items():
            weighted = value.detach().float() * len(target)
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
        self.correct += (logits.argmax(1) == target).sum()
        first = torch.logical_and(self.bad_step < 0, ~torch.isfinite(loss))
        self.bad_step = torch.where(first, step, self.bad_step)

    def means(self) -> dict[str, float]:
        """Means per image of every loss term, and `acc1` in percent.

        Raises:
            DivergedError: If a loss was NaN or infinite; names the first such step.
        """
        if (step := int(self.bad_step)) >= 0:
            raise DivergedError(f"the loss became NaN or infinite at step {step}")
        means = {name: float(value) / self.images for name, value in self.sums.items()}
        return means | {"acc1": 100 * float(self.correct) / self.images}
