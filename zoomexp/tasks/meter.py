"""Training averages that stay on the device: reading them once a log interval is the only synchronisation."""

from collections.abc import Mapping

import torch
from torch import Tensor

from zoomexp.errors import DivergedError


class TrainingMeter:
    """Sums of loss terms and hits since `reset`, and the first step whose loss was not finite."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.images = 0
        self.sums: dict[str, Tensor] = {}
        self.hits: dict[str, Tensor] = {}
        self.bad_step = torch.full((), -1, device=self.device)

    @torch.no_grad()
    def update(
        self, terms: Mapping[str, Tensor], loss: Tensor, images: int, hits: Mapping[str, Tensor], step: int
    ) -> None:
        """Add one batch of `images` images: scalar terms, their sum `loss`, counts of hits, the global step."""
        self.images += images
        for name, value in {"loss": loss, **(terms if len(terms) > 1 else {})}.items():
            weighted = value.detach().float() * images
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
        for name, count in hits.items():
            self.hits[name] = self.hits[name] + count if name in self.hits else count
        first = torch.logical_and(self.bad_step < 0, ~torch.isfinite(loss))
        self.bad_step = torch.where(first, step, self.bad_step)

    def means(self) -> dict[str, float]:
        """Means per image of every loss term, and every kind of hit in percent.

        Raises:
            DivergedError: If a loss was NaN or infinite; names the first such step.
        """
        if (step := int(self.bad_step)) >= 0:
            raise DivergedError(f"the loss became NaN or infinite at step {step}")
        means = {name: float(value) / self.images for name, value in self.sums.items()}
        return means | {name: 100 * float(count) / self.images for name, count in self.hits.items()}
