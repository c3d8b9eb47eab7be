"""Testing one ZoomViT at many thresholds, in one pass over the test images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from zoomexp.arguments import list_of
from zoomexp.errors import InputError
from zoomexp.metrics.declared import ALPHA_CURVE
from zoomexp.tasks.classification import Classifier
from zoomexp.tokens.zoomvit import ZoomViT


class AlphaCurve(Classifier):
    """A classifier's training and test, and in the test its accuracy and tokens at each of several thresholds.

    Adds `test/acc1_at/<alpha>` in percent, `test/tokens_at/<alpha>`, and their means over the thresholds,
    `test/acc1_over_alpha` and `test/tokens_over_alpha` (ZoomViT's table 9, table 5 and figure 6b). The scores are
    computed anew for each.

    Args:
        model: A `ZoomViT` with thresholds (no budget).
        alphas: In [0, 1].
        arguments: See `Classifier`.

    Raises:
        InputError: Another model, or no or unsuitable thresholds.
    """

    quantities = (*Classifier.quantities, *ALPHA_CURVE)

    def __init__(self, *, model: nn.Module, alphas: Sequence[float], **arguments: Any) -> None:
        super().__init__(model=model, **arguments)
        if not isinstance(model, ZoomViT) or model.budget is not None:
            raise InputError("task=alpha_curve: needs a model with a threshold; choose tokens=zoomvit, no budget")
        list_of("task.alphas", alphas, (int, float), "thresholds")
        if not alphas:
            raise InputError("task.alphas must have at least one threshold")
        self.thresholds = {f"{alpha:g}": replace(model.threshold, test_alpha=alpha) for alpha in alphas}
        self.at = nn.ModuleDict({_key(kind, name): MeanMetric() for kind in KINDS for name in self.thresholds})

    def test_step(self, batch: Mapping[str, Tensor], number: int) -> None:
        """Score one batch at the model's own threshold, then at each of the others."""
        super().test_step(batch, number)
        model = cast(ZoomViT, self.model)
        own = model.threshold
        for name, threshold in self.thresholds.items():
            model.threshold = threshold
            right = self.outputs(batch).argmax(1) == batch["label"]
            self._at("acc1", name).update(100 * right.float())
            self._at("tokens", name).update(model.lengths.float())
        model.threshold = own

    def _at(self, kind: str, name: str) -> MeanMetric:
        return cast(MeanMetric, self.at[_key(kind, name)])

    def on_test_epoch_end(self) -> None:
        """Log the split's scores, and the curve."""
        super().on_test_epoch_end()
        for kind in KINDS:
            found = {name: self._at(kind, name).compute() for name in self.thresholds}
            self.log_dict({f"test/{kind}_at/{name}": value for name, value in found.items()})
            self.log(f"test/{kind}_over_alpha", torch.stack(list(found.values())).mean())


KINDS = ("acc1", "tokens")


def _key(kind: str, name: str) -> str:
    """A module's name has no dots."""
    return f"{kind}_{name.replace('.', '_')}"
