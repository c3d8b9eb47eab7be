"""Masks of what images show, in files of their own: found beside the images, and seen as the images are.

A mask is an image of any size, laid over the whole of its image as that is stored. Of grey and colour masks the object
is what has at least half of their highest value, of masks with a palette every entry but the first: so 0 and 1, 0 and
255, class numbers, and CUB-200-2011's shares of annotators are all read as they are meant.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.picture import open_image, suffixes
from zoomexp.datasets.views import Steps, joined
from zoomexp.errors import InputError


def with_masks(splits: FileSplits, folder: Path) -> FileSplits:
    """Give the images of all splits their masks, where there are some.

    A mask has its image's path below the data set's folder, or below that of its split, with any ending.

    Raises:
        InputError: the folder cannot be read, or no image has a mask in it.
    """
    if not folder.is_dir():
        raise InputError(f"dataset.masks={folder} is no folder that can be read")
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in suffixes())
    known = {str(path.with_suffix("")): path for path in files}
    parts = {split: getattr(splits, split) for split in ("train", "val", "test")}
    given: dict[str, Any] = {name: _given(part, folder, known) for name, part in parts.items() if part is not None}
    counts = {split: int((part.masks != b"").sum()) for split, part in given.items()}
    if not any(counts.values()):
        wanted = Path(splits.train.name(0)).with_suffix(".png")
        raise InputError(f"dataset.masks={folder} has no mask of any image; masks are named as images are: {wanted}")
    told = ", ".join(f"{count} of {len(given[split])} {split} images" for split, count in counts.items())
    return replace(splits, **given, notes=(*splits.notes, f"masks of {told}"))


def _given(files: ImageFiles, folder: Path, known: dict[str, Path]) -> ImageFiles:
    found = []
    for position in range(len(files)):
        path = Path(os.fsdecode(files.paths[position])).with_suffix("")
        found.append(known.get(str(files.root.name / path)) or known.get(str(path)))
    masks = np.array([b"" if path is None else os.fsencode(path) for path in found])
    return replace(files, masks=masks, mask_root=folder)


def seen_mask(path: Path | None, steps: Steps, side: int, size: tuple[int, int]) -> np.ndarray:
    """Return where the object is in a view of its image: (side, side) bool, by the nearest pixel of the mask.

    Args:
        path: of the mask; None: nowhere.
        steps: (3, 3) each, from pixel edges of the stored image to those of the view.
        side: of the view, in pixels.
        size: width and height of the image as it is stored.

    Raises:
        InputError: the mask cannot be read.
    """
    if path is None:
        return np.zeros((side, side), bool)
    mask = read_mask(path)
    back = np.linalg.inv(joined(steps))
    y, x = np.mgrid[:side, :side] + 0.5
    places = back[:2, :2] @ [x.ravel(), y.ravel()] + back[:2, 2:]
    col, row = np.floor(places * [[mask.shape[1] / size[0]], [mask.shape[0] / size[1]]]).astype(int)
    within = (col >= 0) & (col < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
    seen: np.ndarray = within & mask[row.clip(0, mask.shape[0] - 1), col.clip(0, mask.shape[1] - 1)]
    seen = seen.reshape(side, side)
    return seen


def read_mask(path: Path) -> np.ndarray:
    """Return where a mask has its object: (height, width) bool.

    Raises:
        InputError: it cannot be read.
    """
    with open_image(path) as image:
        values = np.asarray(
            image if image.mode in ("P", "1", "L") or image.mode.startswith("I") else image.convert("L")
        )
        palette = image.mode == "P"
    highest = values.max(initial=0)
    return values > 0 if palette else (values >= highest / 2) & (values > 0)
