"""Tables, charts and pictures of a finished run in its W&B run: mistakes, confusion matrix, calibration, figures."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from zoomexp.data_protocols import ShowsImages, lists_images, lists_masks
from zoomexp.metrics.calibration import calibration_curve
from zoomexp.metrics.segmentation import COUNTS
from zoomexp.results.prediction_table import worst
from zoomexp.results.predictions import FILE, Predictions
from zoomexp.results.record import RunRecord
from zoomexp.run.wandb_boxes import detections
from zoomexp.run.wandb_masks import segments

MISTAKES = 24  # images
SAID = {"index", "boxes", "scores", "labels"}
CLASSES = 60  # of more no confusion matrix is drawn: W&B keeps a row for each pair, and nobody could read it
SHOWN = ("file", "class", "predicted", "confidence")
NEEDED = {"index", "label", "top1", "confidence", "acc1"}


def media(record: RunRecord, data: pl.LightningDataModule) -> dict[str, Any]:
    """What there is to show of the test images of a classifier, detector or segmenter, by name; nothing of other tasks.

    Args:
        record: of the finished run.
        data: set up for the test.
    """
    predictions = Predictions(record.folder / FILE)
    if predictions.keys() >= SAID:
        return {"detections": detections(predictions, data, record.facts.get("classes") or [])}
    if predictions.keys() >= {*COUNTS} and lists_masks(data):
        return {"segments": segments(record, data, record.facts.get("classes") or [])}
    if not predictions.keys() >= NEEDED:
        return {}
    found = {"calibration": calibration(predictions)}
    classes = record.facts.get("classes") or []
    if len(classes) <= CLASSES:
        found["confusion"] = confusion(predictions, classes)
    chosen = worst(predictions, MISTAKES)
    return found | (
        {"mistakes": mistakes(record, cast(ShowsImages, data), chosen)} if chosen and lists_images(data) else {}
    )


def figures(record: RunRecord) -> dict[str, Any]:
    """The pictures in a run's folder `figures`, by name."""
    import wandb

    return {f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted(record.folder.glob("figures/*.png"))}


def mistakes(record: RunRecord, data: ShowsImages, numbers: Sequence[int]) -> Any:
    """A table of test images, each with what the run said of it.

    Args:
        record: of the finished run.
        data: set up for the test.
        numbers: the images' `index`.
    """
    import wandb

    from zoomexp.analysis.reading import of_test_split

    told = pd.read_csv(record.folder / "predictions.csv").set_index("index")
    columns = [name for name in SHOWN if name in told]
    rows: list[Iterable[Any]] = []
    for number in numbers:
        pixels = of_test_split(data, number).pixels.permute(1, 2, 0).numpy()
        picture = wandb.Image((255 * pixels).round().astype(np.uint8))
        rows.append([number, picture, *(_plain(told.loc[number, name]) for name in columns)])
    return wandb.Table(columns=["index", "image", *columns], data=rows)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def confusion(predictions: Predictions, classes: Sequence[str]) -> Any:
    """How often which class was taken for which."""
    import wandb

    label, top1 = predictions["label"].tolist(), predictions["top1"].tolist()
    return wandb.plot.confusion_matrix(y_true=label, preds=top1, class_names=list(classes), title="Confusion matrix")


def calibration(predictions: Predictions) -> Any:
    """How often the run is right, against how sure it is, in percent, beside one that is as often right as sure."""
    import wandb

    lines = {"as sure as right": ([0, 100], [0, 100])}
    for key, name in (("right (%)", "confidence"), ("right (%), at the temperature", "confidence_t")):
        if name in predictions:
            confidence, right, _ = calibration_curve(predictions[name], predictions["acc1"])
            lines[key] = ((100 * confidence).tolist(), (100 * right).tolist())
    xs, ys = zip(*lines.values(), strict=True)
    return wandb.plot.line_series(
        xs=list(xs), ys=list(ys), keys=list(lines), title="Calibration", xname="confidence (%)"
    )
