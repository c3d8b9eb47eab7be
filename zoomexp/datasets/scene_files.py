"""Batches of scenes that stay on disk: images of several sizes, read and augmented one by one, in workers or not.

A batch is as in `scenes`, and besides: `image` is filled up with 0 to the largest height and width in it; `image_id`
(B,) int64; of images that are seen whole `crowd` (T,) bool, `area` (T,) float32 and `file_size` (B, 2) int64, height
and width of the file, in whose pixels boxes are scored. Training batches lack crowds, and boxes that were cropped away.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoomexp.datasets.batches import Key
from zoomexp.datasets.coco_annotations import Annotated
from zoomexp.datasets.picture import Picture, open_picture
from zoomexp.datasets.scene_views import RandomScene, WholeScene
from zoomexp.datasets.stream_loader import Batch, randomness
from zoomexp.errors import InputError

Item = dict[str, Tensor]
OBJECTS = ("boxes", "labels", "crowd", "area")


class SceneFiles:
    """Some of the images of an annotation file.

    Args:
        folder: that the images lie in.
        annotated: the file's content.
        positions: (M,) int64, which of its images these are; `index` counts them from 0.
    """

    def __init__(self, folder: Path, annotated: Annotated, positions: np.ndarray) -> None:
        self.folder, self.annotated, self.positions = folder, annotated, positions

    def __len__(self) -> int:
        return len(self.positions)

    def path(self, place: int) -> Path:
        """Where an image lies."""
        return self.folder / self.name(place)

    def name(self, place: int) -> str:
        """Its file, below the folder."""
        name: bytes = self.annotated.names[self.positions[place]]
        return name.decode(errors="surrogateescape")

    def size(self, place: int) -> tuple[int, int]:
        """Its width and height in pixels, as it is annotated."""
        height, width = self.annotated.sizes[self.positions[place]].tolist()
        return width, height

    def held(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How many objects each image has, (M,), and the objects' labels and whether they are crowds, (T,) each."""
        rows = [self.annotated.objects(position) for position in self.positions.tolist()]
        chosen = np.concatenate([np.arange(row.start, row.stop) for row in rows] or [np.zeros(0, np.int64)])
        return self.annotated.counts[self.positions], self.annotated.labels[chosen], self.annotated.crowd[chosen]


class SceneSet(Dataset[Batch]):
    """Makes the batch of a list of keys.

    Args:
        files: the images.
        view: how they are looked at.
        mean: three values on the scale 0..1.
        std: likewise.
        seed: of the random views.
    """

    def __init__(
        self,
        files: SceneFiles,
        view: WholeScene | RandomScene,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int = 0,
    ) -> None:
        self.files, self.view, self.seed = files, view, seed
        self.mean, self.std = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, keys: list[Key]) -> Batch:
        """The batch of `keys`; an error is returned: raised in a worker it would arrive as a traceback."""
        try:
            items = [self._item(draw, place) for draw, place in keys]
        except InputError as error:
            return InputError(str(error))
        batch = {name: torch.cat([item[name] for item in items]) for name in OBJECTS if name in items[0]}
        single = ("size", "index", "image_id", "file_size")
        batch |= {name: torch.stack([item[name] for item in items]) for name in single if name in items[0]}
        batch["count"] = torch.tensor([len(item["labels"]) for item in items])
        batch["image"] = filled([item["image"] for item in items])
        return batch

    def _item(self, draw: int, place: int) -> Item:
        every, position = self.files.annotated, int(self.files.positions[place])
        rows = every.objects(position)
        boxes, training = torch.from_numpy(every.boxes[rows]), isinstance(self.view, RandomScene)
        with open_picture(self.files.path(place)) as picture:
            check_size(self.files, place, picture)
            image = picture.rgb()
        with randomness(self.seed, draw, place):
            image, boxes, kept = self.view(image, boxes)
        crowd = torch.from_numpy(every.crowd[rows])[kept]
        item = {"boxes": boxes, "labels": torch.from_numpy(every.labels[rows])[kept]}
        if training:
            item = {name: values[~crowd] for name, values in item.items()}
        else:
            item |= {"crowd": crowd, "area": torch.from_numpy(every.area[rows])}
            item["file_size"] = torch.from_numpy(every.sizes[position])
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        item |= {"image": (pixels - self.mean) / self.std, "size": torch.tensor(image.size[::-1])}
        return item | {"index": torch.tensor(place), "image_id": torch.tensor(int(every.ids[position]))}


def check_size(files: SceneFiles, place: int, picture: Picture) -> None:
    """Refuse an image whose size is not that of its annotations.

    Args:
        files: the images.
        place: which of them.
        picture: it, opened.

    Raises:
        InputError: names file and id, and where EXIF turns what was annotated as it is stored, what to do.
    """
    told = files.size(place)
    if picture.size == told:
        return
    number = int(files.annotated.ids[files.positions[place]])
    own, said = (" x ".join(map(str, size)) for size in (picture.size, told))
    why = f"{files.path(place)} (image {number}) has {own} pixels, and its annotations say {said}"
    if picture.stored_size == told:
        why += (
            ": its EXIF orientation turns it; if its boxes are of the image as it is stored, take the tag out of the "
        )
        why += "file (exiftool -Orientation= FILE), else exchange height and width"
    raise InputError(why)


def filled(images: Sequence[Tensor]) -> Tensor:
    """Images (C, H, W) of several sizes in the upper left of one (B, C, H, W), channels last, 0 elsewhere."""
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    batch = torch.zeros(len(images), len(images[0]), height, width).contiguous(memory_format=torch.channels_last)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return batch
