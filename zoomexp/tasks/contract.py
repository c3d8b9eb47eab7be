"""What the rest of zoomexp may ask of a task, and nothing else: a task alone knows what its targets and outputs are.

Batches are mappings with `image`, (B, C, H, W), and `index`, (B,) int64, the images' numbers in their split; whatever
else is in them (labels, boxes of any number of objects, maps) is between the data module and the task. `training.
TrainedModel` does all of this but what is a task's own: `targets`, `score`, `results`, and where they differ `outputs`,
`losses`, `prepared`, `hits`, `outcomes`, `pictures`, `tables` and `explained`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import pandas as pd
import pytorch_lightning as pl
from torch import Tensor, nn

from zoomexp.metrics.quantity import Quantity
from zoomexp.tasks.meter import TrainingMeter
from zoomexp.tokens.ragged import Ragged

Batch = Mapping[str, Any]
Tables = Mapping[str, pd.DataFrame]  # by the name of the CSV file, without its ending


class Task(Protocol):
    """A LightningModule that trains and tests one network.

    Attributes:
        quantities: what it measures; overviews show those that say so.
        main: the one of them that the best epoch is chosen by.
        work: what a run announces in the place of its epochs, where it does not train through them; None elsewhere.
        model: the network.
        inputs: the entries of a batch that it cannot do without, beside labels: the network's arguments in their order,
            and a teacher's `map` where that is the target.
        meter: running averages of this epoch, and how many images it has seen.
        predictions: what it has kept of the test images so far, lists of tensors by name.
    """

    quantities: Sequence[Quantity]
    main: Quantity
    work: str | None
    model: nn.Module
    inputs: Sequence[str]
    meter: TrainingMeter
    predictions: Mapping[str, list[Tensor]]

    def prepared(self, batch: Batch) -> tuple[Batch, Any]:
        """A training batch as it is learnt from (mixed, for example), and its targets."""

    def outputs(self, batch: Batch) -> Any:
        """What the network says of B images, in a form that only the task reads."""

    def targets(self, batch: Batch) -> Any:
        """What it should have said."""

    def losses(self, outputs: Any, targets: Any, epoch: float | Tensor) -> dict[str, Tensor]:
        """Scalars by name, means over the batch; their sum is minimised. `epoch` has a fraction in training."""

    def hits(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Whether each image of a training batch is one, (B,) bool by key; shown in percent while training."""

    def score(self, split: str, outputs: Any, targets: Any, batch: Batch) -> None:
        """Add a batch to the scores of "val" or "test"."""

    def results(self, split: str) -> dict[str, Tensor]:
        """The split's scores, scalars by full name in their declared units; the next batch begins anew."""

    def outcomes(self, outputs: Any, targets: Any) -> dict[str, Tensor | Ragged]:
        """What `predictions.npz` keeps of test images: (B, ...) by name, or `Ragged` where images have several objects.

        Of each quantity with `per_image` the outcomes, (B,), under its key; and what a `measure` reads.
        """

    def pictures(self, batch: Batch, count: int, data: Any) -> dict[str, Tensor]:
        """Pictures of the first images of a batch just evaluated, (n, 3, H, W) in [0, 1] by name; maybe none.

        `data` has the `mean` and `std` that its images were normalised by.
        """

    def tables(self, predictions: Mapping[str, Any], classes: Sequence[str]) -> tuple[Tables, dict[str, float]]:
        """What follows from all test images together: tables that the run folder keeps, and metrics by full name.

        Args:
            predictions: what `outcomes` gave of them, as arrays.
            classes: their names by label.
        """

    def explained(self, batch: Batch) -> Tensor | None:
        """The class of each image that explanations are of, (B,) int64, if the outputs are logits (B, K); else None."""


def task_of(pl_module: pl.LightningModule) -> Task:
    """What Lightning hands to a callback, as the task that it is."""
    return cast(Task, pl_module)
