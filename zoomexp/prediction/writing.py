"""Predictions as a table (CSV) and as a tree (JSON), and maps as pictures."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoomexp.analysis.overlay import enlarged, heat_over
from zoomexp.analysis.viewed import to_look_at
from zoomexp.atomic_file import atomic_file
from zoomexp.datasets.seeing import Seeing
from zoomexp.prediction.predictor import Prediction
from zoomexp.prediction.reading import LeftOut


def write_csv(path: Path, predictions: Sequence[Prediction]) -> None:
    """One row an image: file, class_1, probability_1, class_2 ..., then the statistics of its maps."""
    rows = [_row(one) for one in predictions]
    with atomic_file(path) as partial, partial.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_json(path: Path, run: str, predictions: Sequence[Prediction], left_out: Sequence[LeftOut]) -> None:
    """Everything that the CSV has, and the files that could not be read, with the reason."""
    images = [
        {
            "file": one.name,
            "top": [{"class": name, "probability": probability} for name, probability in one.top],
            "maps": one.statistics(),
        }
        for one in predictions
    ]
    content = {"run": run, "images": images, "left_out": [{"file": one.name, "reason": one.reason} for one in left_out]}
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def write_maps(folder: Path, prediction: Prediction, seeing: Seeing, root: Path) -> list[Path]:
    """Each map over what the network saw of the image, as PNG files; returns them.

    They lie in a folder named after the image: its path below `root`.
    """
    from PIL import Image

    source = Path(prediction.name)
    picture = enlarged(to_look_at(seeing.file(source), seeing.mean, seeing.std))
    place = folder / source.absolute().relative_to(root)
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for site, heat in prediction.maps.items():
        drawn = (255 * heat_over(picture, heat)).round().byte().permute(1, 2, 0).numpy()
        files.append(place / f"{site}.png")
        Image.fromarray(drawn).save(files[-1])
    return files


def _row(prediction: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {"file": prediction.name}
    for rank, (name, probability) in enumerate(prediction.top, start=1):
        row |= {f"class_{rank}": name, f"probability_{rank}": f"{probability:.6f}"}
    return row | {name: f"{value:.6g}" for name, value in prediction.statistics().items()}
