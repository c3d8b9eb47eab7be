"""A data module whose training batches also hold a teacher's labels of single places."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from zoomexp.arguments import boolean
from zoomexp.datasets.with_maps import MappedLoader, WithMaps
from zoomexp.relevance.dense_labels import DenseLabels
from zoomexp.relevance.extraction import dataset_name, positions
from zoomexp.relevance.store import MapReader


class WithDenseLabels(WithMaps):
    """Wraps a data module; its training batches get `dense_labels` and `view`, and maybe `dense_truth`.

    `dense_labels` (B, 2, k, S, S) half: the teacher's of the image seen as test images are; `view` (B, 3, 3): from
    points of that to points of the training image, both in pixels. `dense_truth` (B,) int64 are the labels once more,
    where the class token is to learn them too (see `tasks.token_labels`).

    Args:
        data: the data module; whatever is asked of this one and not said here is asked of it.
        teacher: the convolutional network whose labels they are.
        method: makes them.
        folder: where they are kept.
        batch_size: images the teacher sees at a time.
        ground_truth: whether the class token also learns the image's own label.

    Raises:
        InputError: no batch size; a teacher that does not fit the images, or other labels there (in `prepare_data`).
    """

    has_maps = False
    has_dense_labels = True

    def __init__(
        self,
        data: pl.LightningDataModule,
        *,
        teacher: nn.Module,
        method: DenseLabels,
        folder: str | Path,
        batch_size: int = 32,
        ground_truth: bool = False,
    ) -> None:
        boolean("relevance.ground_truth", ground_truth)
        super().__init__(data, teacher=teacher, method=method, folder=folder, batch_size=batch_size)
        self.ground_truth = ground_truth

    def _names(self, part: str) -> list[str]:
        return ["map"] if part == "train" else []

    def _mapped(self, part: str, loader: Any) -> Any:
        self.data.trainer = self.trainer
        if part != "train":
            return loader
        images = self.data.part(part)
        reader = MapReader(self.files[part, "map"], dataset_name(self.data, part), len(images))
        where = torch.from_numpy(positions(images.index))
        return LabelledLoader(loader, {"dense_labels": reader}, where, self.data.image_size, self.ground_truth)


class LabelledLoader(MappedLoader):
    """Adds labels of places to the batches of a loader, as they are kept; see `WithDenseLabels`."""

    def __init__(self, *arguments: Any) -> None:
        *of_maps, self.ground_truth = arguments
        super().__init__(*of_maps)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield one epoch's batches."""
        for batch in self.loader:
            device, where = batch["image"].device, self.positions[batch["index"].cpu()]
            for name, reader in self.readers.items():
                batch[name] = reader.read(where).to(device)
            batch.setdefault("view", torch.eye(3, device=device).expand(len(where), 3, 3))
            yield batch | ({"dense_truth": batch["label"]} if self.ground_truth else {})
