"""The temperature of a classifier that is tested without training: that of its run, or fitted to held-out images here.

A temperature belongs to a network's logits (Guo et al. 2017, arXiv 1706.04599). `backbones.trained` and a checkpoint
bring that of the run along while the network is the same; with other tokens, another module or positions resampled to
another size it is fitted anew, to the validation images of the data set at hand. Weights of others have none: who
trained them may have trained on these images.
"""

from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.utilities.seed import isolate_rng

from zoomexp.backbones.start_weights import SaysStartWeights
from zoomexp.data_protocols import RunData
from zoomexp.run.readiness import used
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.training import TrainedModel


def take_temperature(task: TrainedModel) -> None:
    """Give a classifier the temperature of the weights that it starts from; None where there is none."""
    if isinstance(task, Classifier):
        weights = cast(SaysStartWeights, task.model).start_weights
        task.fitted = None if weights is None else weights.temperature


def fit_temperature(trainer: pl.Trainer, task: TrainedModel, data: RunData) -> None:
    """Fit a temperature where weights of a run came without one and there are images that were held out.

    No callback sees the pass over them and nothing of it is logged; the test draws the random numbers that it would.
    """
    weights = getattr(task.model, "start_weights", None)
    if not isinstance(task, Classifier) or task.fitted is not None or weights is None or not weights.by_run:
        return
    if getattr(data, "validate_on", "heldout") == "test" or not used(
        trainer.limit_val_batches, len(cast(Any, data.val_dataloader()))
    ):
        return
    whole: Any = trainer
    watching, whole.loggers, whole.callbacks = (whole.loggers, whole.callbacks), [], []
    with isolate_rng():
        trainer.validate(task, datamodule=cast(pl.LightningDataModule, data), verbose=False)
    whole.loggers, whole.callbacks = watching
