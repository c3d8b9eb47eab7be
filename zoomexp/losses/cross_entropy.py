"""Cross-entropy with label smoothing."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import finite, list_of, number
from zoomexp.errors import InputError
from zoomexp.losses.all_processes import of_a_process, together


class CrossEntropy(nn.Module):
    """Mean cross-entropy over the batch.

    Args:
        label_smoothing: In [0, 1): share of the target mass spread over all classes.
        class_weights: Of the classes' images in the mean, in label order, at least 0; "balanced": N / (K n) for a class
            that has n of the N training images of K classes; None: all alike.

    Raises:
        InputError: For a smoothing outside [0, 1), or weights that are none.
    """

    compared = "cross_entropy"

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | str | None = None) -> None:
        super().__init__()
        if class_weights not in (None, "balanced"):
            list_of("loss.class_weights", class_weights, (int, float), "numbers, one per class; or balanced, or null")
            for place, weight in enumerate(class_weights):
                number(f"loss.class_weights[{place}]", weight, 0)
        self.class_weights = class_weights
        self.register_buffer("weights", None, persistent=False)
        finite("loss.label_smoothing", label_smoothing, lambda share: 0 <= share < 1, "a number in [0, 1)")
        self.label_smoothing = label_smoothing

    def weigh(self, counts: Sequence[int]) -> None:
        """Set the weights of the classes, which have so many training images.

        Raises:
            InputError: For another number of weights than classes, or a class without training images.

        >>> loss = CrossEntropy(class_weights="balanced")
        >>> loss.weigh([30, 10])
        >>> loss.weights.tolist()
        [0.6666666865348816, 2.0]
        """
        if self.class_weights is None:
            return
        if self.class_weights == "balanced":
            if not min(counts):
                raise InputError("loss.class_weights=balanced: a class has no training images")
            self.weights = torch.tensor([sum(counts) / (len(counts) * count) for count in counts])
        elif len(self.class_weights) != len(counts):
            raise InputError(
                f"loss.class_weights has {len(self.class_weights)} values; there are {len(counts)} classes"
            )
        else:
            self.weights = torch.tensor(self.class_weights, dtype=torch.float32)

    def forward(
        self, logits: Tensor, target: Tensor, maps: Mapping[str, Tensor] | None = None, epoch: float | Tensor = 0.0
    ) -> dict[str, Tensor]:
        """Logits (B, K) and targets (B,) int64 or (B, K) probabilities to {"cross_entropy": scalar}.

        `epoch` says how far training is; a tensor on the device where the step is one that a graph replays.
        """
        return {self.compared: self.compare(logits, target)}

    def compare(self, logits: Tensor, target: Tensor) -> Tensor:
        """The same of any logits (N, K), those of an auxiliary head for example: a scalar."""
        mean = F.cross_entropy(logits, target, self.weights, label_smoothing=self.label_smoothing)
        if self.weights is None or target.dim() == 2 or not together():  # divided by the images, or all are here
            return mean
        own = self.weights[target].sum()
        return mean * own / of_a_process(own)
