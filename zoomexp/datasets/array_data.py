"""The data module of every small set: splits, subsets and loaders over arrays in memory."""

from typing import Any, Literal

import numpy as np

from zoomexp.arguments import boolean, one_of
from zoomexp.datasets.arrays import ImageArrays, Splits
from zoomexp.datasets.data_module import DataModule, check_whole
from zoomexp.datasets.holdout import hold_out, shortened
from zoomexp.datasets.loader import ArrayLoader

LEAST = {"image_size": 1, "pad": 0, "crop_padding": 0, "crop_size": 1, "train_size": 1, "test_size": 1}


class ArrayDataModule(DataModule):
    """A data set of arrays; a subclass says how to `read` it. Only training images are augmented.

    Args:
        image_size: side of the images the model gets, in pixels; None: what the data and `crop_size` give.
        interpolation: how images are resized where `image_size` asks for it, "bilinear" or "bicubic".
        pad: black pixels added on every side of all images, test images included.
        crop_padding, crop_size, flip: augmentation, see `ArrayLoader`.
        train_size, test_size: use so many images only, drawn with every class's share (the held-out images, stratified,
            too, shrink in proportion to the training images); None: all.
        eval_batch_size: images a batch in validation and test, per process.
        **common: as in `DataModule`.

    Raises:
        InputError: a value out of its range.
    """

    def __init__(
        self,
        *,
        image_size: int | None = None,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        pad: int = 0,
        crop_padding: int = 0,
        crop_size: int | None = None,
        flip: bool = False,
        train_size: int | None = None,
        test_size: int | None = None,
        eval_batch_size: int = 500,
        **common: Any,
    ) -> None:
        super().__init__(eval_batch_size=eval_batch_size, **common)
        self.target_size, self.interpolation, self.pad = image_size, interpolation, pad
        self.crop_padding, self.crop_size, self.flip = crop_padding, crop_size, flip
        self.train_size, self.test_size = train_size, test_size
        self.views = False  # whether training batches say how their images were cropped and mirrored
        check_whole({field: image_size if field == "image_size" else getattr(self, field) for field in LEAST}, LEAST)
        boolean("dataset.flip", flip)
        one_of("dataset.interpolation", interpolation, ("bilinear", "bicubic"))

    def read(self) -> Splits:
        """Return the training and test splits; download or convert them first if need be.

        Raises:
            InputError: the data are not there and cannot be fetched, or are damaged.
        """
        raise NotImplementedError

    def render(self, arrays: ImageArrays, part: str, share: float) -> ImageArrays:
        """Turn what was read into images, once the validation split has been held out; here nothing is to be done.

        Args:
            arrays: the images of one part.
            part: "train", "val" or "test".
            share: how much of its split this part is, 0..1.
        """
        return arrays

    def make_parts(self) -> dict[str, ImageArrays | None]:
        """Read the data and make the parts."""
        splits = self.read()
        train, val, own = splits.train, None, splits.val is not None
        if self.validate_on == "heldout":
            train, val = (train, splits.val) if own else hold_out(train, self.val_fraction, self.split_seed)
        train_share = len(train) / len(splits.train)
        full = self.render(train, "train", train_share)
        train = shortened(full, self.train_size, self.split_seed, "train_size")
        if val is not None:
            val = self.render(val, "val", 1.0 if own else 1 - train_share)
            size = max(1, round(len(val) * len(train) / len(full)))
            val = shortened(val, size, self.split_seed, "train_size").padded(self.pad)
        test = self.render(splits.test, "test", 1.0)
        test = shortened(test, self.test_size, self.split_seed, "test_size").padded(self.pad)
        self._classes = splits.classes
        val = test if self.validate_on == "test" else val
        return {"train": train.padded(self.pad), "val": val, "test": test}

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self._parts["train"].images.shape[-1])

    @property
    def image_size(self) -> int:
        """Side in pixels of the images the model trains on."""
        return self.target_size or self.crop_size or self._parts["train"].images.shape[1]

    @property
    def has_boxes(self) -> bool:
        """Whether batches have a `box`."""
        return self._parts["train"].boxes is not None

    def load(self, part: str) -> ArrayLoader:
        """Return the loader of a part."""
        batch_size, world = self.share(part)
        options: dict[str, Any] = {"device": self.device, **world}
        if part == "train":
            options |= {"crop_padding": self.crop_padding, "crop_size": self.crop_size, "flip": self.flip}
            options |= {"shuffle": True, "drop_last": self.drop_last, "seed": self.seed, "views": self.views}
        return ArrayLoader(self._parts[part], batch_size=batch_size, **self._look(), **options)

    def part(self, name: str) -> ImageArrays | None:
        """Return the images of "train", "val" or "test"; None where nothing validates."""
        images: ImageArrays | None = self._parts[name]
        return images

    def plain_batches(self, name: str, positions: np.ndarray, batch_size: int) -> ArrayLoader:
        """Return batches of the images at `positions` of a part, in that order, seen as test images are."""
        images = self._parts[name].take(positions)
        return ArrayLoader(images, batch_size=batch_size, **self._look())

    def _look(self) -> dict[str, Any]:
        size = {"image_size": self.target_size, "interpolation": self.interpolation}
        return {"mean": self.mean, "std": self.std, **size}
