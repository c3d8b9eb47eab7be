"""A detector's boxes as a table (CSV), as a tree (JSON) and in COCO's result format."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoomexp.atomic_file import atomic_file
from zoomexp.export.coco import results, write_json
from zoomexp.prediction.coco_ids import CocoIds
from zoomexp.prediction.detector import Detected
from zoomexp.prediction.reading import LeftOut

COLUMNS = ("file", "label", "score", "x0", "y0", "x1", "y1")


def write_boxes_csv(path: Path, found: Sequence[Detected]) -> None:
    """One row a box, the surest of an image first; an image without any has no row."""
    with atomic_file(path) as partial, partial.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for one in found:
            for box, score, name in zip(one.boxes.tolist(), one.scores.tolist(), one.classes, strict=True):
                table.writerow([one.name, name, f"{score:.6f}", *(f"{edge:.2f}" for edge in box)])


def write_boxes_json(
    path: Path, run: str, least: float, found: Sequence[Detected], left_out: Sequence[LeftOut]
) -> None:
    """Every image with its size and boxes, and the files that could not be read, with the reason."""
    images = [{"file": one.name, "width": one.size[0], "height": one.size[1], "boxes": _boxes(one)} for one in found]
    content = {"run": run, "score": least, "images": images,
               "left_out": [{"file": one.name, "reason": one.reason} for one in left_out]}  # fmt: skip
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def write_coco(path: Path, found: Sequence[Detected], ids: CocoIds, classes: Sequence[str]) -> None:
    """All boxes in COCO's result format, with the ids of an annotation file."""
    categories = np.array(ids.of_classes(classes))
    boxes, scores = ([getattr(one, name).numpy() for one in found] for name in ("boxes", "scores"))
    images = ids.of_images(Path(one.name) for one in found)
    write_json(path, results(images, boxes, scores, [categories[one.labels.numpy()] for one in found]))


def _boxes(one: Detected) -> list[dict[str, object]]:
    rows = zip(one.classes, one.scores.tolist(), one.boxes.tolist(), strict=True)
    return [{"label": name, "score": round(score, 6), "box": [round(edge, 2) for edge in box]}
            for name, score, box in rows]  # fmt: skip
