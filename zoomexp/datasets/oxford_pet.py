"""Oxford-IIIT Pet (Parkhi et al., CVPR 2012, CC BY-SA 4.0): 7,349 photographs of cats and dogs with trimaps.

Public layout, which torchvision's `OxfordIIITPet` makes, too: `images/*.jpg`, `annotations/trimaps/*.png` (1: the pet,
2: the background, 3: the border between them) and `annotations/{trainval,test}.txt`, 3,680 and 3,669 lines of a name,
the breed from 1, the species and its own number.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoomexp.arguments import one_of
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.masked import IGNORED
from zoomexp.datasets.pixel_files import PixelClasses, check_files
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.datasets.stream_loader import StreamLoader, StreamSet
from zoomexp.datasets.views import View, WholeView
from zoomexp.errors import InputError

HOME = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
CLASSES = {"pet": ("background", "pet"), "trimap": ("background", "pet", "border")}
MEANING = {"pet": {1: 1, 2: 0, 3: IGNORED}, "trimap": {1: 1, 2: 0, 3: 2}}


class OxfordPet(StreamDataModule):
    """The photographs with the class of every pixel; what is held out for validation is stratified by breed.

    Batches are those of `StreamDataModule`, with pixel_label (B, S, S) uint8; `label` is the breed, from 0. Test images
    are seen whole, as squares; pixels that augmentation fills in are ignored.

    Args:
        folder: of the layout, below `data_dir` or a whole path.
        target: "pet": pet or background, the border is ignored; "trimap": three classes.
        **common: as in `StreamDataModule`, without `crop_pct` and `masks`.

    Raises:
        InputError: a value out of its range.
    """

    name = "oxford_pet"

    def __init__(
        self, *, folder: str = "oxford-iiit-pet", target: Literal["pet", "trimap"] = "pet", **common: Any
    ) -> None:
        for option in ("crop_pct", "masks"):
            if option in common:
                raise InputError(f"dataset.{option}: images are seen whole here, with masks of their own; leave it out")
        super().__init__(**common)
        one_of("dataset.target", target, tuple(CLASSES))
        self.folder, self.target, self.pixels = folder, target, PixelClasses(MEANING[target])

    def read(self) -> FileSplits:
        """Return the two published splits.

        Raises:
            InputError: the layout is not there, or not whole.
        """
        root = (self.data_dir / Path(self.folder).expanduser()).absolute()
        train, test = (_listed(root, f"{name}.txt") for name in ("trainval", "test"))
        check_files((train, test), self.name)
        breeds = tuple(f"breed {number}" for number in range(1 + int(max(train.labels.max(), test.labels.max()))))
        return FileSplits(train, None, test, breeds)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the pixels."""
        return CLASSES[self.target]

    def masked(self, name: str) -> ImageFiles | None:
        """The images of "train", "val" or "test"; None where nothing validates."""
        return self.part(name)

    def mask_batches(self, name: str, positions: np.ndarray, batch_size: int) -> StreamLoader:
        """Batches of the images at `positions` of a part, in that order, seen as test images are."""
        return self.plain_batches(name, positions, batch_size)

    def central_view(self, flip: bool = False) -> Any:
        """How test images are seen: whole."""
        return WholeView(self.image_size, flip, self.interpolation)

    def _images(self, files: ImageFiles, view: View, **options: Any) -> StreamSet:
        return super()._images(files, view, pixels=self.pixels, **options)


def _listed(root: Path, name: str) -> ImageFiles:
    """The images of a list, with their trimaps."""
    path = root / "annotations" / name
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]
        names, labels = [row[0] for row in rows], np.array([int(row[1]) for row in rows], np.int64) - 1
    except FileNotFoundError as error:
        told = f"{path} is missing; unpack images.tar.gz and annotations.tar.gz ({HOME}) in {root}"
        raise InputError(f"dataset=oxford_pet: {told}") from error
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"dataset=oxford_pet: {path} is not as published; unpack it again ({HOME})") from error
    if not rows or labels.min() < 0:
        raise InputError(f"dataset=oxford_pet: {path} is not as published; unpack it again ({HOME})")
    paths, masks = (np.char.encode([f"{folder}/{one}{end}" for one in names])
                    for folder, end in (("images", ".jpg"), ("annotations/trimaps", ".png")))  # fmt: skip
    return ImageFiles(root, paths, labels, masks=masks, mask_root=root)
