"""A data module whose batches also hold relevance maps of a teacher."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.data_protocols import lists_masks, lists_scenes
from zoomexp.errors import InputError
from zoomexp.relevance.extraction import Method, dataset_name, ensure_maps, positions
from zoomexp.relevance.host import grid_side
from zoomexp.relevance.store import MapReader
from zoomexp.relevance.warp_maps import warp_maps

PARTS = ("train", "val", "test")


class WithMaps(pl.LightningDataModule):
    """Wraps a data module; its batches get `map` (B, S, S) float32 in [0, 1], and test batches the controls' as well.

    Maps are those of the images seen as test images are, and follow a training image through crop and flip. What is
    missing of them is made first, once (`prepare_data`).

    Args:
        data: the data module; whatever is asked of this one and not said here is asked of it.
        teacher: the ViT whose maps they are.
        method: of the maps (see `zoomexp.relevance`).
        controls: other methods by the name that their maps get in test batches.
        folder: where the maps are kept.
        batch_size: images the teacher explains at a time.

    Raises:
        InputError: no batch size; a teacher that does not fit the images, or a file of other maps (in `prepare_data`).
    """

    data: Any
    has_maps = True

    def __init__(
        self,
        data: pl.LightningDataModule,
        *,
        teacher: nn.Module,
        method: Method,
        folder: str | Path,
        controls: Mapping[str, Method] | None = None,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        integer("relevance.batch_size", batch_size)
        if lists_scenes(data):
            raise InputError("relevance: explains one class an image, and these have several objects; relevance=none")
        if lists_masks(data):
            raise InputError("relevance: explains one class an image, and these have many; relevance=none")
        self.data, self.teacher, self.folder, self.map_batch_size = data, teacher, Path(folder), batch_size
        self.methods = {"map": method, **(controls or {})}
        self.files: dict[tuple[str, str], Path] = {}
        self.data.views = True

    def __getattr__(self, name: str) -> Any:
        """Ask the data module."""
        if name == "data":  # while this one is being made
            raise AttributeError(name)
        return getattr(self.data, name)

    def prepare_data(self) -> None:
        """Fetch the data and make the maps that are missing; a second call, which Lightning makes, does nothing."""
        if self.files:
            return
        self.data.prepare_data()
        self.data.setup()
        self.files = {(part, name): self._file(part, name) for part in PARTS for name in self._names(part)}

    def setup(self, stage: str | None = None) -> None:
        """Find the images."""
        self.data.setup(stage)

    def train_dataloader(self) -> "MappedLoader":
        """Return the training batches with their maps."""
        return self._mapped("train", self.data.train_dataloader())

    def val_dataloader(self) -> "MappedLoader | list[Any]":
        """Return the validation batches with their maps; an empty list where nothing validates."""
        loader = self.data.val_dataloader()
        return self._mapped("val", loader) if len(loader) else []

    def test_dataloader(self) -> "MappedLoader":
        """Return the test batches with their maps and the controls'."""
        return self._mapped("test", self.data.test_dataloader())

    def _names(self, part: str) -> list[str]:
        if self.data.part(part) is None:
            return []
        return list(self.methods) if part == "test" else ["map"]

    def _file(self, part: str, name: str) -> Path:
        return ensure_maps(self.folder, self.teacher, self.methods[name], self.data, part, self.map_batch_size)

    def _mapped(self, part: str, loader: Any) -> "MappedLoader":
        self.data.trainer = self.trainer
        images, side = self.data.part(part), grid_side(self.teacher, self.data.image_size)
        readers = {
            name: MapReader(self.files[part, name], dataset_name(self.data, part), len(images), side)
            for name in self._names(part)
        }
        return MappedLoader(loader, readers, torch.from_numpy(positions(images.index)), self.data.image_size)


class MappedLoader:
    """Adds maps to the batches of a loader.

    Args:
        loader: yields batches with `index` and maybe `view` (see `ArrayLoader`).
        readers: the maps, by the name they get.
        positions: (M,) int64, from an image's index to its map.
        image_size: side of the images in pixels.
    """

    def __init__(self, loader: Any, readers: Mapping[str, MapReader], positions: Tensor, image_size: int) -> None:
        self.loader, self.readers, self.positions, self.image_size = loader, readers, positions, image_size
        self.sampler, self.batch_sampler = loader.sampler, None  # Lightning looks at both

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        return len(self.loader)

    @property
    def smallest_batch(self) -> int:
        """Images in the smallest training batch of this process."""
        return int(self.loader.smallest_batch)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield one epoch's batches."""
        for batch in self.loader:
            view, where = batch.pop("view", None), self.positions[batch["index"].cpu()]
            for name, reader in self.readers.items():
                maps = reader.read(where).to(batch["image"].device, torch.float32)
                batch[name] = maps if view is None else warp_maps(maps, view, self.image_size)
            yield batch
