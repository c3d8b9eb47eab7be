"""A finished run's network that says the class of every pixel of an image."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.datasets.seeing import opened
from zoomexp.datasets.square_seeing import SquareSeeing
from zoomexp.prediction.reading import ImageLike, LeftOut, all_of, chosen_device, one_by_one


@dataclass(frozen=True, eq=False)
class Segmented:
    """What the network makes of one image.

    Args:
        name: The file, or "image" for one that was given as such.
        size: Width and height of the upright image, in pixels.
        labels: (height, width) uint8, the class of each of its pixels.
        classes: K names.
    """

    name: str
    size: tuple[int, int]
    labels: np.ndarray
    classes: tuple[str, ...]

    def shares(self) -> dict[str, float]:
        """How much of the image each class covers, 0..1, by name, the largest first; without those that are nowhere."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
        return {self.classes[i]: float(counts[i] / self.labels.size) for i in order}


class SegmentingPredictor:
    """A network, its classes and how it sees images.

    Args:
        network: Images (B, C, S, S) to logits (B, K, S, S); put into evaluation mode.
        classes: K names, at most 255.
        seeing: How an image becomes the network's input.
        device: "auto": a GPU where there is one; or torch's name of a device.

    Raises:
        InputError: A device that is not there.
    """

    def __init__(self, network: nn.Module, classes: Sequence[str], seeing: SquareSeeing, device: str = "auto") -> None:
        self.device = chosen_device(device)
        self.network = network.to(self.device).eval()
        self.classes, self.seeing = tuple(classes), seeing

    def __call__(self, images: ImageLike | Iterable[ImageLike], batch_size: int = 8) -> Segmented | list[Segmented]:
        """Say the class of every pixel of one image, or of several.

        Args:
            images: A file or a PIL image; or several of them.
            batch_size: Images that the network sees at a time.

        Raises:
            InputError: One of them cannot be read.
        """
        if isinstance(images, ImageLike):
            return all_of(self.predict([images], batch_size))[0]
        return all_of(self.predict(images, batch_size))

    def predict(self, images: Iterable[ImageLike], batch_size: int = 8) -> Iterator[Segmented | LeftOut]:
        """The same, one after the other, where files that cannot be read do not stop it."""
        for one in one_by_one(images, batch_size, self._read, self._found):
            if isinstance(one, LeftOut):
                yield one
            else:
                name, (size, logits) = one
                yield Segmented(name, size, labels_of(logits, size), self.classes)

    def _read(self, image: ImageLike) -> tuple[Tensor, tuple[int, int]]:
        with opened(image, self.seeing.background) as picture:
            return self.seeing.picture(picture), picture.size

    @torch.inference_mode()
    def _found(self, inputs: Sequence[tuple[Tensor, tuple[int, int]]]) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """Each image's size, and its logits (K, S, S) on the CPU."""
        images = torch.stack([pixels for pixels, _ in inputs]).to(self.device)
        logits = self.network(images.contiguous(memory_format=torch.channels_last)).float().cpu()
        return zip([size for _, size in inputs], logits, strict=True)


def labels_of(logits: Tensor, size: tuple[int, int]) -> np.ndarray:
    """The likeliest class of each pixel of an image of any size, its logits (K, h, w) interpolated: (H, W) uint8.

    Class by class: all of them at once take K times a photograph's memory.

    Args:
        logits: of the image, all of it.
        size: its width and height.
    """
    best = torch.full(size[::-1], -torch.inf)
    labels = torch.zeros(size[::-1], dtype=torch.uint8)
    for label, plane in enumerate(logits):
        larger = F.interpolate(plane[None, None], size=size[::-1], mode="bilinear", align_corners=False)[0, 0]
        above = larger > best
        best, labels = (
            torch.where(above, larger, best),
            torch.where(above, torch.tensor(label, dtype=torch.uint8), labels),
        )
    found: np.ndarray = labels.numpy()
    return found
