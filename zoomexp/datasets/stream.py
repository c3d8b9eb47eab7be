"""The data module of every set that stays on disk: decoded and augmented image by image, in worker processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoomexp.arguments import boolean, finite, list_of, number, one_of
from zoomexp.datasets.batches import ShardedBatches
from zoomexp.datasets.data_module import DataModule, check_whole
from zoomexp.datasets.duplicates import without_copies
from zoomexp.datasets.holdout import shortened
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.inspection import inspected
from zoomexp.datasets.masks import with_masks
from zoomexp.datasets.parts import TEST_FRACTION, Partition
from zoomexp.datasets.picture import KINDS
from zoomexp.datasets.pixels import colour
from zoomexp.datasets.rand_augment import RandAugment
from zoomexp.datasets.stream_loader import StreamLoader, StreamSet
from zoomexp.datasets.three_augment import ThreeAugment
from zoomexp.datasets.views import CentralView, RandomView, View
from zoomexp.errors import InputError

SIDE = 224
LEAST = {"image_size": 8, "num_workers": 0, "repeats": 1, "train_size": 1, "test_size": 1}


class StreamDataModule(DataModule):
    """A data set of image files; a subclass says how to `read` it. Only training images are augmented.

    A batch is a dict: image (B, 3, S, S) float32, channels-last in memory; label (B,) int64; index (B,) int64, the
    position in the split; where the set has them, box (B, 4) float32, x0, y0, x1, y1 in pixels of `image`, and parts
    (B, P, 3) float32, x, y and visible (1, or 0 with x = y = 0: hidden or cropped away). Augmentation moves both along;
    under RandAugment a box is the upright one around the sheared or rotated one. A part keeps its number when mirrored.
    Test batches of a set with masks have mask (B, S, S) bool, nowhere true where an image has none.

    Args:
        eval_batch_size: images a batch in validation and test, per process.
        image_size: side of the images the model gets, in pixels; None: 224.
        augment: of training images: "basic", a random window and a flip; "randaugment", these and timm's
            rand-m9-mstd0.5; "three_augment", these and DeiT III's; "central", seen as test images are, and a flip;
            "none", no flip either.
        train_scale: least and most share of an image's area that a random window has.
        flip: mirror left-right, half the time.
        crop_pct: what a test image keeps of its short side, centred.
        interpolation: how images are resized, "bilinear" or "bicubic".
        erasing: how likely a rectangle of a training image becomes noise (torchvision's random erasing; DeiT: 0.25).
        repeats: copies of a training image in an epoch, each with an augmentation of its own; an epoch keeps its
            length and sees 1 / repeats of the images (repeated augmentation; DeiT: 3).
        num_workers: processes that read images; 0: the training process itself.
        train_size, test_size: use so many images only, drawn with every class's share (the validation images shrink in
            proportion to the training images); None: all.
        background: what is behind transparent pixels: a colour's name, or [red, green, blue] in 0..255.
        on_bad_image: "fail": an image that cannot be read is an error; "skip": it is left out and named. Then every
            image is decoded before the run.
        test_fraction: share of the images held out for the test, stratified, where the set has no test split.
        fold, folds: cross-validation: the training images are parted into `folds` parts, stratified, and number `fold`,
            from 0, is the test split; a test split of its own is not used. None: no folds.
        sampler: "shuffled": an epoch has each training image once; "balanced": as many of each class, images of small
            classes several times, each time augmented anew, and not all of large ones.
        on_duplicate: an image whose file is in two splits: "tell": it stays, and is told; "drop": the copies in train,
            and in val of a test image, are left out; "fail". Of more than 20,000 images none is looked for: a note.
        masks: a folder, below `data_dir` or a whole path, of masks of what the test images show, which maps are scored
            against: named as the images are below theirs, but for the ending (see `zoomexp.datasets.masks`); None: no.
        **common: as in `DataModule`. What is held out is stratified; `val_fraction` is unused where the set has a
            validation split of its own. Order and augmentation depend on (seed, epoch, index) and on which of the
            repeats it is, not on batch size or workers.

    Raises:
        InputError: a value out of its range.
    """

    def __init__(
        self,
        *,
        eval_batch_size: int = 100,
        image_size: int | None = None,
        augment: Literal["basic", "randaugment", "three_augment", "central", "none"] = "basic",
        train_scale: Sequence[float] = (0.08, 1.0),
        flip: bool = True,
        crop_pct: float = 0.875,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        erasing: float = 0.0,
        repeats: int = 1,
        num_workers: int = 0,
        train_size: int | None = None,
        test_size: int | None = None,
        background: str | Sequence[int] = "white",
        on_bad_image: Literal["fail", "skip"] = "fail",
        test_fraction: float = TEST_FRACTION,
        fold: int | None = None,
        folds: int | None = None,
        sampler: Literal["shuffled", "balanced"] = "shuffled",
        on_duplicate: Literal["tell", "drop", "fail"] = "tell",
        masks: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(eval_batch_size=eval_batch_size, **common)
        self.num_workers = num_workers
        self.image_size, self.augment, self.flip = SIDE if image_size is None else image_size, augment, flip
        list_of("dataset.train_scale", train_scale, (int, float), "two shares, [least, most]")
        self.train_scale, self.crop_pct = tuple(float(value) for value in train_scale), crop_pct
        self.interpolation, self.erasing, self.repeats = interpolation, erasing, repeats
        self.train_size, self.test_size = train_size, test_size
        self.sampler, self.on_duplicate, self.masks = sampler, on_duplicate, masks
        self.partition = Partition(self.val_fraction, self.validate_on, test_fraction, fold, folds, self.split_seed)
        self.background, self.on_bad_image = colour("dataset.background", background), on_bad_image
        self.views = False  # whether training batches say how their images were cropped and mirrored
        check_whole({field: getattr(self, field) for field in LEAST}, LEAST)
        self._check()

    def read(self) -> FileSplits:
        """Return the splits; download them first if need be.

        Raises:
            InputError: the data are not there and cannot be fetched, or are not whole.
        """
        raise NotImplementedError

    def make_parts(self) -> dict[str, ImageFiles | None]:
        """Find the images and make the parts."""
        splits = inspected(self.read(), self.on_bad_image)
        if self.masks is not None:
            splits = with_masks(splits, self.data_dir / Path(self.masks).expanduser())
        full, copies = without_copies(self.partition.of(splits), self.on_duplicate)
        train = shortened(full.train, self.train_size, self.split_seed, "train_size")
        test = shortened(full.test, self.test_size, self.split_seed, "test_size")
        val = test if self.validate_on == "test" else full.val
        if self.validate_on != "test" and val is not None:
            size = max(1, round(len(val) * len(train) / len(full.train)))
            val = shortened(val, size, self.split_seed, "train_size")
        self._classes, self._notes, self._passed_over = splits.classes, full.notes, {**splits.passed_over, **copies}
        return {"train": train, "val": val, "test": test}

    @property
    def passed_over(self) -> Mapping[str, str]:
        """The files that are not used, by name, with the reasons."""
        return self._passed_over

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be known of the splits, a sentence each."""
        return self._notes

    @property
    def channels(self) -> int:
        """Images are colour; grey files become colour."""
        return 3

    @property
    def has_boxes(self) -> bool:
        """Whether batches have a `box`."""
        return self._parts["train"].boxes is not None

    def load(self, part: str) -> StreamLoader:
        """Return the loader of a part."""
        training, (batch_size, world) = part == "train", self.share(part)
        files = self._parts[part]
        order: dict[str, Any] = {"training": training, "seed": self.seed, "repeats": self.repeats, **world}
        if training and self.sampler == "balanced":
            order["labels"] = files.labels
        batches = ShardedBatches(len(files), batch_size, drop_last=self.drop_last, **order)
        whole = self.central_view() if self.views and training else None
        view, erasing = (self._train_view(), self.erasing) if training else (self.central_view(), 0.0)
        masks = part == "test"
        images = self._images(files, view, seed=self.seed, erasing=erasing, whole=whole, masks=masks)
        return StreamLoader(images, batches, num_workers=self.num_workers, pinned=self.device.type == "cuda")

    def part(self, name: str) -> ImageFiles | None:
        """Return the images of "train", "val" or "test"; None where nothing validates."""
        files: ImageFiles | None = self._parts[name]
        return files

    def plain_batches(self, name: str, positions: np.ndarray, batch_size: int) -> StreamLoader:
        """Return batches of the images at `positions` of a part, in that order, seen as test images are."""
        files = self._parts[name].take(positions)
        images = self._images(files, self.central_view())
        return StreamLoader(images, ShardedBatches(len(files), batch_size), num_workers=self.num_workers)

    def _train_view(self) -> View:
        if self.augment in ("central", "none"):
            return self.central_view(flip=self.flip and self.augment == "central")
        augment: RandAugment | ThreeAugment | None = None
        if self.augment == "randaugment":
            augment = RandAugment(self.image_size, self.mean)
        elif self.augment == "three_augment":
            augment = ThreeAugment()
        look: dict[str, Any] = {"scale": self.train_scale, "flip": self.flip, "interpolation": self.interpolation}
        return RandomView(self.image_size, augment=augment, **look)

    def central_view(self, flip: bool = False) -> CentralView:
        """Return how test images are seen, and, with `flip`, those training images that are only mirrored."""
        return CentralView(self.image_size, self.crop_pct, flip, self.interpolation)

    def _images(self, files: ImageFiles, view: View, **options: Any) -> StreamSet:
        return StreamSet(files, view, mean=self.mean, std=self.std, background=self.background, **options)

    def _check(self) -> None:
        boolean("dataset.flip", self.flip)
        for field, values in {"mean": self.mean, "std": self.std}.items():
            if len(values) != 3:
                raise InputError(f"dataset.{field}={list(values)} must be three values, std above 0")
        least, most = self.train_scale if len(self.train_scale) == 2 else (0, 0)
        if not 0 < least <= most <= 1:
            raise InputError(
                f"dataset.train_scale={list(self.train_scale)} must be [least, most], 0 < least <= most <= 1"
            )
        finite("dataset.crop_pct", self.crop_pct, lambda share: 0 < share <= 1, "a number in (0, 1]")
        number("dataset.erasing", self.erasing, 0, 1)
        one_of("dataset.sampler", self.sampler, ("shuffled", "balanced"))
        if self.sampler == "balanced" and self.repeats > 1:
            raise InputError("dataset.repeats: dataset.sampler=balanced repeats images as often as it needs; repeats=1")
        if not isinstance(self.masks, str | None):
            raise InputError(f"dataset.masks={self.masks} must be a folder, below data_dir or a whole path, or null")
        one_of("dataset.on_duplicate", self.on_duplicate, ("tell", "drop", "fail"))
        one_of("dataset.on_bad_image", self.on_bad_image, ("fail", "skip"))
        one_of("dataset.interpolation", self.interpolation, tuple(KINDS))
        one_of("dataset.augment", self.augment, ("basic", "randaugment", "three_augment", "central", "none"))
