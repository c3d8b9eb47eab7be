"""Boxes in COCO's result format, and objects in its format of annotations: for COCO's server and whatever reads them.

    results       [{image_id, category_id, bbox [x, y, width, height], score}, ...]
    annotations   {images [{id, file_name, width, height}], annotations [{id, image_id, category_id, bbox, area,
                  iscrowd}], categories [{id, name}]}

Boxes are in pixels of the files, as they are said and scored. Numbers have the nine digits that single precision has.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.atomic_file import atomic_file

RESULTS, ANNOTATIONS = "detections.json", "annotations.json"


def results(
    images: Sequence[int], boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray], categories: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """Boxes in the result format.

    Args:
        images: N ids.
        boxes: (n, 4) of each image, x0, y0, x1, y1.
        scores: (n,) of each.
        categories: (n,) ids of each.
    """
    return [
        {"image_id": int(image), "category_id": int(label), "bbox": bbox(box), "score": digits(score)}
        for image, *own in zip(images, boxes, scores, categories, strict=True)
        for box, score, label in zip(*own, strict=True)
    ]


def annotations(
    images: Iterable[Mapping[str, Any]], objects: Iterable[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Objects in the format of annotations.

    Args:
        images: `id`, `file_name`, `width` and `height` of each.
        objects: `image_id`, `label`, `box` (x0, y0, x1, y1), `area` and `crowd` of each.
        classes: names by label, which are the category ids; "" where there is none.
    """
    told = [
        {"id": number, "image_id": int(one["image_id"]), "category_id": int(one["label"]), "bbox": bbox(one["box"]),
         "area": digits(one["area"]), "iscrowd": int(one["crowd"])}
        for number, one in enumerate(objects, start=1)  # COCO's own code takes 0 for no object
    ]  # fmt: skip
    categories = [{"id": label, "name": name} for label, name in enumerate(classes) if name]
    return {"images": [dict(one) for one in images], "annotations": told, "categories": categories}


def bbox(box: Sequence[float] | np.ndarray) -> list[float]:
    """A box by its corners as x, y, width and height."""
    x0, y0, x1, y1 = (float(value) for value in box)
    return [digits(x0), digits(y0), digits(x1 - x0), digits(y1 - y0)]


def digits(value: float) -> float:
    """A number to nine digits."""
    return float(f"{float(value):.9g}")


def write_json(path: Path, content: Any) -> None:
    """Write a file in one step."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content) + "\n")


def average_precision(truth: Path, found: Path, images: Sequence[int]) -> float:
    """AP in percent of a file of results against one of annotations, by faster-coco-eval.

    Args:
        truth: annotations.
        found: results.
        images: ids of the images that count.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    there = COCO(truth)
    said = there.loadRes(str(found))
    scores = COCOeval_faster(there, said, iouType="bbox", print_function=lambda *words: None)
    scores.params.imgIds = [int(image) for image in images]
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    return 100 * float(scores.stats[0])
