"""Test images with what a detector says of them and what is there, as W&B's box overlays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoomexp.results.predictions import Predictions

SHOWN = 16  # images, evenly spread
LEAST = 0.05  # surer boxes alone: the page has a slider for the score


def detections(predictions: Predictions, data: Any, classes: Sequence[str]) -> list[Any]:
    """Images with two layers of boxes, `said` and `there`.

    Args:
        predictions: of a detector, with `boxes` in pixels of the files.
        data: set up for the test.
        classes: names by label.
    """
    from zoomexp.analysis.changed import spread
    from zoomexp.analysis.scenes import scenes_of_test

    places = spread(np.arange(len(predictions["index"])), SHOWN)
    numbers = predictions["index"][places].tolist()
    names = {label: name for label, name in enumerate(classes) if name}
    return [
        _image(scene, [predictions[name][place] for name in ("boxes", "scores", "labels")], names)
        for place, scene in zip(places, scenes_of_test(data, numbers), strict=True)
    ]


def _image(scene: Any, said: list[np.ndarray], names: dict[int, str]) -> Any:
    import wandb

    height, width = scene.scored
    sure = said[1] >= LEAST
    boxes, scores, labels = (values[sure] for values in said)
    layers = {
        "said": [_box(box, int(label), names, (width, height), float(score))
                 for box, score, label in zip(boxes, scores, labels, strict=True)],
        "there": [_box(box, int(label), names, scene.pixels.shape[:0:-1]) for box, label in
                  zip(scene.boxes.numpy(), scene.labels.tolist(), strict=True)],
    }  # fmt: skip
    pixels = (255 * scene.pixels.permute(1, 2, 0).numpy()).round().astype(np.uint8)
    shown = {layer: {"box_data": data, "class_labels": names} for layer, data in layers.items()}
    return wandb.Image(pixels, boxes=shown, caption=f"image {scene.name}")


def _box(
    box: np.ndarray, label: int, names: dict[int, str], size: Sequence[int], score: float | None = None
) -> dict[str, Any]:
    """One box, x0, y0, x1, y1 in pixels of an image of that width and height, as W&B has it."""
    edges = (box.astype(float) / np.array([*size, *size])).clip(0, 1)
    position = dict(zip(("minX", "minY", "maxX", "maxY"), edges.tolist(), strict=True))
    name = names.get(label, str(label))
    told = {} if score is None else {"scores": {"score": score}}
    return {
        "position": position,
        "class_id": label,
        "box_caption": name if score is None else f"{name} {score:.2f}",
        **told,
    }
