"""A segmenter's masks as PNG files, and what they hold as a table (CSV) and as a tree (JSON)."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zoomexp.analysis.masks_over import classes_over, palette
from zoomexp.atomic_file import atomic_file
from zoomexp.datasets.pixels import WHITE
from zoomexp.datasets.seeing import opened
from zoomexp.prediction.reading import LeftOut
from zoomexp.prediction.segmenter import Segmented


def write_masks(folder: Path, one: Segmented, root: Path) -> None:
    """Write `masks/<name>.png`, class numbers with a palette, and `overlays/<name>.png`, the same over the image.

    Args:
        folder: that both lie in.
        one: what was said of a file.
        root: the folder that names start from: files of equal name in two folders stay apart.
    """
    name = Path(one.name).absolute().relative_to(root)
    image = Image.fromarray(one.labels, mode="P")
    image.putpalette((255 * palette(len(one.classes))).round().to(torch.uint8).flatten().tolist())
    _save(image, folder / "masks" / name)
    with opened(one.name, WHITE) as picture:
        pixels = torch.from_numpy(np.array(picture.rgb())).permute(2, 0, 1) / 255
    drawn = classes_over(pixels, torch.from_numpy(one.labels).long(), one.classes)
    _save(Image.fromarray((255 * drawn).round().to(torch.uint8).permute(1, 2, 0).numpy()), folder / "overlays" / name)


def _save(image: Image.Image, path: Path) -> None:
    path = path.with_name(f"{path.name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        image.save(partial, format="PNG")


def write_shares_csv(path: Path, found: Sequence[Segmented]) -> None:
    """One row for each image and class that is in it: file, class, share of the image's pixels."""
    with atomic_file(path) as partial, partial.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "class", "share"))
        table.writerows(_rows(found))


def _rows(found: Sequence[Segmented]) -> Iterator[tuple[str, str, str]]:
    for one in found:
        for name, share in one.shares().items():
            yield one.name, name, f"{share:.6f}"


def write_shares_json(path: Path, run: str, found: Sequence[Segmented], left_out: Sequence[LeftOut]) -> None:
    """Every image with its size and the classes in it, all classes in their order, the files left out."""
    images = [
        {
            "file": one.name,
            "width": one.size[0],
            "height": one.size[1],
            "classes": {name: round(share, 6) for name, share in one.shares().items()},
        }
        for one in found
    ]
    content = {"run": run, "classes": list(found[0].classes), "images": images,
               "left_out": [{"file": one.name, "reason": one.reason} for one in left_out]}  # fmt: skip
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
