"""COCO detection (Lin et al. 2014, arXiv 1405.0312), and other sets that are annotated in its format.

    <data_dir>/<folder>/{train2017,val2017}/*.jpg
    <data_dir>/<folder>/annotations/instances_{train2017,val2017}.json

The second split is the test. Nothing is downloaded. `coco_annotations` reads the files, `scene_views` says what is
seen of an image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.arguments import boolean, integer, list_of, number
from zoomexp.datasets.batches import ShardedBatches
from zoomexp.datasets.coco_annotations import annotated
from zoomexp.datasets.data_module import DataModule, check_whole
from zoomexp.datasets.scene_checks import check_categories, check_files, check_sizes
from zoomexp.datasets.scene_files import SceneFiles, SceneSet
from zoomexp.datasets.scene_views import RandomScene, WholeScene, fitted
from zoomexp.datasets.stream_loader import StreamLoader
from zoomexp.errors import InputError

LEAST = {"test_scale": 16, "multiple": 1, "num_workers": 0, "train_size": 1, "test_size": 1}


class COCO(DataModule):
    """Images with boxes; K is one more than the largest category id (COCO: 91). Batches: see `scene_files`.

    Args:
        folder: of the set, below `data_dir`.
        train: name of the training split.
        test: name of the test split.
        scales: short sides of training images, one of which is drawn; the long side is at most 1333 / 800 of the last.
        test_scale: short side of test images; the long side is at most 1333 / 800 of it.
        enlarge: all short sides are so many times as long, at least 1.
        multiple: of all sides, in pixels: the host's patch; two of them for tokens=zoomvit at eta 0.5.
        crop: crop half the training images before they are scaled.
        flip: mirror half the training images.
        train_size: use so many training images only; None: all.
        test_size: likewise.
        eval_batch_size: images a batch in validation and test, per process.
        num_workers: processes that read images; 0: the training process itself.
        **common: as in `DataModule`.

    Raises:
        InputError: a value out of its range.
    """

    name, channels, sizes_vary = "coco", 3, True

    def __init__(
        self,
        *,
        folder: str = "coco",
        train: str = "train2017",
        test: str = "val2017",
        scales: Sequence[int] = tuple(range(480, 801, 16)),
        test_scale: int = 800,
        enlarge: float = 1,
        multiple: int = 16,
        crop: bool = True,
        flip: bool = True,
        val_fraction: float = 0.02,
        train_size: int | None = None,
        test_size: int | None = None,
        eval_batch_size: int = 8,
        num_workers: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(val_fraction=val_fraction, eval_batch_size=eval_batch_size, **common)
        self.folder, self.splits = folder, {"train": train, "test": test}
        self.scales, self.test_scale, self.multiple, self.crop, self.flip = scales, test_scale, multiple, crop, flip
        self.train_size, self.test_size, self.num_workers = train_size, test_size, num_workers
        self.enlarge = enlarge
        self._check()
        self.scales = tuple(round(enlarge * side) for side in scales)
        self.test_scale = round(enlarge * test_scale)

    def make_parts(self) -> dict[str, SceneFiles | None]:
        """Read the annotations and look for the images."""
        train, test = (self._read(name) for name in ("train", "test"))
        check_categories(*((self.annotation_file(name), one.annotated) for name, one in
                           (("train", train), ("test", test))))  # fmt: skip
        train, held = _shortened(train, self.train_size, self.split_seed), None
        test = _shortened(test, self.test_size, self.split_seed)
        if self.validate_on == "heldout" and self.val_fraction:
            train, held = _parted(train, self.val_fraction, self.split_seed)
        for use, files in (("train", train), ("validate", held), ("test", test)):
            if files is not None and files.held()[2].all():
                named = "train_size, test_size, val_fraction, split_seed"
                raise InputError(f"dataset: none of the {len(files):,} images to {use} on has an object ({named})")
        self._classes = tuple(train.annotated.classes.tolist())  # by id, "" where there is none
        return {"train": train, "val": test if self.validate_on == "test" else held, "test": test}

    @property
    def root(self) -> Path:
        """The set's folder."""
        return self.data_dir / self.folder

    def annotation_file(self, part: str) -> Path:
        """Where the annotations of "train" or "test" lie; known before `setup`."""
        return self.root / "annotations" / f"instances_{self.splits[part]}.json"

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of a test image of 4 : 3."""
        return fitted(640, 480, self.test_scale, 10**9, self.multiple)

    def scenes(self, name: str) -> SceneFiles | None:
        """The images of "train", "val" or "test"; None where nothing validates."""
        scenes: SceneFiles | None = self._parts[name]
        return scenes

    @property
    def notes(self) -> tuple[str, ...]:
        """How many boxes were left out, cut or measured, by annotation file."""
        changes = {name: self._parts[part].annotated.changes for part, name in self.splits.items()}
        return tuple(f"{name}: {change}" for name, own in changes.items() for change in own)

    def scene_batches(self, name: str, positions: np.ndarray, batch_size: int) -> StreamLoader:
        """Batches of the images at `positions` of a part, in that order, seen whole; `index` counts them anew."""
        own = self._parts[name]
        files = SceneFiles(own.folder, own.annotated, own.positions[positions])
        images = SceneSet(files, WholeScene(self.test_scale, self.multiple), mean=self.mean, std=self.std)
        batches = ShardedBatches(len(files), batch_size, training=False, seed=0, drop_last=False)
        return StreamLoader(images, batches, num_workers=0, pinned=False)

    def load(self, part: str) -> StreamLoader:
        """Return the loader of a part."""
        training, (batch_size, world) = part == "train", self.share(part)
        view: WholeScene | RandomScene = WholeScene(self.test_scale, self.multiple)
        if training:
            view = RandomScene(self.scales, self.multiple, self.crop, self.flip)
        files = self._parts[part]
        images = SceneSet(files, view, mean=self.mean, std=self.std, seed=self.seed)
        order: dict[str, Any] = {"training": training, "seed": self.seed, "drop_last": self.drop_last}
        batches = ShardedBatches(len(files), batch_size, **order, **world)
        return StreamLoader(images, batches, num_workers=self.num_workers, pinned=self.device.type == "cuda")

    def _read(self, part: str) -> SceneFiles:
        name = self.splits[part]
        folder = self.root / name
        if not folder.is_dir():
            raise InputError(f"{folder} is missing: unpack COCO's images there (dataset.{part}={name})")
        found = annotated(self.annotation_file(part))
        files = SceneFiles(folder, found, np.arange(len(found)))
        check_files(files)
        check_sizes(files)
        return files

    def _check(self) -> None:
        check_whole({field: getattr(self, field) for field in LEAST}, LEAST)
        for field in ("crop", "flip"):
            boolean(f"dataset.{field}", getattr(self, field))
        number("dataset.enlarge", self.enlarge, 1)
        list_of("dataset.scales", self.scales, int, "short sides in pixels")
        if not self.scales:
            raise InputError("dataset.scales=[] must be a list of short sides in pixels, at least one")
        for side in (*self.scales, self.test_scale):
            integer("dataset.scales", side, self.multiple)


def _shortened(files: SceneFiles, size: int | None, seed: int) -> SceneFiles:
    if size is None or size >= len(files):
        return files
    chosen = np.sort(np.random.default_rng(seed).permutation(len(files))[:size])
    return SceneFiles(files.folder, files.annotated, files.positions[chosen])


def _parted(files: SceneFiles, share: float, seed: int) -> tuple[SceneFiles, SceneFiles]:
    """What stays to train on, and what is held out, at least an image each."""
    size = min(max(1, round(share * len(files))), len(files) - 1)
    order = np.random.default_rng(seed).permutation(len(files))
    held, rest = np.sort(order[:size]), np.sort(order[size:])
    kept, out = (SceneFiles(files.folder, files.annotated, files.positions[part]) for part in (rest, held))
    return kept, out
