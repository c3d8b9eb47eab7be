"""What a notebook needs, in one place.

from zoomexp import api

net = api.build_model(resnet20, num_classes=10, in_chans=1, image_size=48)  # or any network of timm's
api.sites(net)                                                              # where a module can go
api.insert(net, Loupe, "stage2", images)                                    # and put there
api.attention_maps(net)                                                     # after a forward

run = api.train("attention=loupe", "dataset=cluttered_digits")              # as `zoomexp train ...`
api.load(run.folder)(image).label                                           # a finished run names what it sees
api.data_of(run.folder), api.predictions_of(run.folder)                     # its test images, and what it said
"""

from pathlib import Path

from zoomexp.cli.from_python import FinishedRun, train
from zoomexp.insertion import attention_maps, insert, sites
from zoomexp.model import build_model
from zoomexp.prediction.loading import load
from zoomexp.results.predictions import FILE, Predictions
from zoomexp.run.stored_run import data_of

__all__ = [
    "FinishedRun",
    "attention_maps",
    "build_model",
    "data_of",
    "insert",
    "load",
    "predictions_of",
    "sites",
    "train",
]


def predictions_of(run: str | Path) -> Predictions:
    """What a finished run said of its N test images, arrays by name: `label`, `top1`, `acc1` (whether it was right)."""
    return Predictions(Path(run) / FILE)
