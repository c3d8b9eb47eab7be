"""From image files to batches, in this process or in workers: the same batches either way."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoomexp.datasets.batches import Key, ShardedBatches
from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.masks import seen_mask
from zoomexp.datasets.picture import open_picture
from zoomexp.datasets.pixel_files import PixelClasses
from zoomexp.datasets.pixels import WHITE
from zoomexp.datasets.views import CentralView, View, joined, move_box, move_parts
from zoomexp.errors import FaultError, InputError

Batch = dict[str, Tensor] | InputError  # an error is given on: raised in a worker, it would arrive as a traceback

LOOK = 5  # seconds after which, without a batch, torch looks whether the workers are still there
TIMEOUT = 300  # seconds without a batch after which a worker counts as stuck
ERASING = 1  # sets its random numbers apart from the view's


class StreamLoader(DataLoader[Batch]):
    """Iterates over batches; `loader.sampler.set_epoch(epoch)` before each epoch, which Lightning does by itself.

    Args:
        images: makes a batch of a list of keys.
        batches: which images make a batch.
        num_workers: processes that read images, kept from epoch to epoch; 0: this process.
        pinned: batches go into page-locked memory, for a GPU.
    """

    def __init__(
        self, images: Dataset[Batch], batches: ShardedBatches, *, num_workers: int, pinned: bool = False
    ) -> None:
        super().__init__(
            images,
            sampler=batches,
            batch_size=None,  # the set makes whole batches itself
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            timeout=LOOK if num_workers else 0,
            pin_memory=pinned,
            generator=torch.Generator(),  # else every epoch draws a seed from the global one
        )

    @property
    def smallest_batch(self) -> int:
        """Images in the smallest training batch of this process."""
        return cast(ShardedBatches, self.sampler).smallest_batch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]  # around torch's own iterator
        """Yield one epoch's batches.

        Raises:
            InputError: an image cannot be read; in one line, from a worker too.
            FaultError: a worker is stuck.
        """
        batches = super().__iter__()
        for number in count():
            try:
                batch = self._next(batches, number)
            except StopIteration:
                return
            if isinstance(batch, InputError):
                raise batch
            yield batch

    def _next(self, batches: Iterator[Batch], number: int) -> Batch:
        """The next batch, which is `number` of the epoch."""
        for _ in range(0, TIMEOUT, LOOK):
            try:
                return next(batches)
            except RuntimeError as error:
                if "timed out" not in str(error):  # torch has no type for it
                    raise
        (_, position), *_ = next(islice(self.sampler, number, None))
        path = cast(Any, self.dataset).files.path(position)
        raise FaultError(
            f"worker {number % self.num_workers} of dataset.num_workers={self.num_workers} gave no batch for {TIMEOUT} "
            f"s, at {path} or an image after it; see to the disk, then the same command "
            "goes on from the last finished epoch"
        )


class StreamSet(Dataset[Batch]):
    """Reads, views and normalises images; see `StreamDataModule` for what a batch holds.

    Args:
        files: the images.
        view: how they are looked at.
        mean, std: three values each on the scale 0..1; image = (pixel / 255 - mean) / std.
        seed: at least 0; of the random views.
        erasing: how likely an image is erased at random (Zhong et al., arXiv 1708.04896): a rectangle becomes noise.
        whole: batches then hold `view` (B, 3, 3) float32, which moves points as seen by `whole` onto `image`.
        background: red, green and blue, 0..255, behind what is transparent.
        masks: whether batches hold `mask`, where the images have some.
        pixels: what the masks' values mean, where every pixel has a class: batches hold `pixel_label` instead.
    """

    def __init__(
        self,
        files: ImageFiles,
        view: View,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int = 0,
        erasing: float = 0.0,
        whole: CentralView | None = None,
        background: tuple[int, int, int] = WHITE,
        masks: bool = False,
        pixels: PixelClasses | None = None,
    ) -> None:
        from torchvision.transforms import RandomErasing

        self.files, self.view, self.seed, self.whole, self.background = files, view, seed, whole, background
        self.masks, self.pixels = masks and files.masks is not None and pixels is None, pixels
        self.erase: Any = RandomErasing(erasing, value="random", inplace=True) if erasing else None
        centre, spread = (torch.tensor(values, dtype=torch.float64).repeat(view.side) for values in (mean, std))
        # Of a row of pixels, (S * 3,).
        self._scale, self._offset = (1 / (255 * spread)).float(), (-centre / spread).float()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, keys: list[Key]) -> Batch:
        """Return the batch of `keys`; an error is returned, too: raised in a worker, it would arrive as a traceback."""
        try:
            items = [self._item(draw, position) for draw, position in keys]
        except InputError as error:
            return InputError(str(error))
        batch = {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}
        rows = batch["image"].flatten(2).float()  # (B, S, S * 3)
        image = rows.mul_(self._scale).add_(self._offset).view(batch["image"].shape)
        image = image.permute(0, 3, 1, 2)
        if self.erase is not None:
            self._erase(image, keys)
        return batch | {"image": image}

    def _erase(self, images: Tensor, keys: list[Key]) -> None:
        """Erase in place, with random numbers of its own: views are the same with and without."""
        for image, (draw, position) in zip(images, keys, strict=True):
            with randomness(self.seed, draw, int(self.files.index[position]), ERASING):
                self.erase(image)

    def _item(self, draw: int, position: int) -> dict[str, np.ndarray]:
        files, path = self.files, self.files.path(position)
        with open_picture(path, self.background) as picture, randomness(self.seed, draw, int(files.index[position])):
            pixels, steps = self.view(picture)
        item = {"image": pixels, "label": files.labels[position], "index": files.index[position]}
        from_file = [steps[0] @ picture.turn, *steps[1:]]
        if files.boxes is not None:
            item["box"] = move_box(files.boxes[position], from_file, self.view.side)
        if files.parts is not None:
            item["parts"] = move_parts(files.parts[position], from_file, self.view.side)
        if files.label_sets is not None:
            item["label_sets"] = files.label_sets[position]
        if self.masks:
            item["mask"] = seen_mask(files.mask_path(position), from_file, self.view.side, picture.stored_size)
        if self.pixels is not None and (mask := files.mask_path(position)) is not None:
            item["pixel_label"] = self.pixels.seen(mask, from_file, self.view.side, picture.stored_size)
        if self.whole is not None:
            item["view"] = joined([np.linalg.inv(self.whole.matrix(*picture.size)), *steps]).astype(np.float32)
        return item


@contextmanager
def randomness(*numbers: int) -> Iterator[None]:
    """Inside, the global CPU generators of torch and `random` depend on `numbers` alone; outside nothing changes."""
    seeds = np.random.SeedSequence(numbers).generate_state(2, np.uint64)
    before, torch_before = random.getstate(), torch.get_rng_state()
    random.seed(int(seeds[0]))
    torch.default_generator.manual_seed(int(seeds[1]) >> 1)  # torch.manual_seed would touch the GPU's as well
    try:
        yield
    finally:
        random.setstate(before)
        torch.set_rng_state(torch_before)
