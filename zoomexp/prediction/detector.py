"""A finished run's network that says where in images what is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoomexp.arguments import number
from zoomexp.boxes import corners
from zoomexp.datasets.scene_files import filled
from zoomexp.datasets.scene_seeing import SceneSeeing, fitting
from zoomexp.datasets.seeing import Seeing, opened
from zoomexp.errors import InputError
from zoomexp.metrics.detection import surest
from zoomexp.prediction.reading import ImageLike, LeftOut, all_of, chosen_device, one_by_one

LEAST = 0.3  # score of the boxes that are told where nobody says otherwise


@dataclass(frozen=True, eq=False)
class Detected:
    """What the network makes of one image, the surest box first.

    Args:
        name: The file, or "image" for one that was given as such.
        size: Width and height of the upright image, in pixels.
        boxes: (N, 4) float32, x0, y0, x1, y1 in its pixels; they may reach beyond its edges.
        scores: (N,), 0..1.
        labels: (N,) int64, the classes' numbers.
        classes: N names.
    """

    name: str
    size: tuple[int, int]
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, least: float) -> "Detected":
        """Those boxes that have at least this score."""
        count = int((self.scores >= least).sum())  # the surest come first
        boxes, scores, labels = (values[:count] for values in (self.boxes, self.scores, self.labels))
        return Detected(self.name, self.size, boxes, scores, labels, self.classes[:count])


@dataclass(frozen=True, eq=False)
class _Read:
    """An image as the network gets it, its size, and (3, 3) from shares of the input's sides to its pixels."""

    pixels: Tensor
    size: tuple[int, int]
    to_file: Tensor


class Detector:
    """A network, its classes and how it sees images.

    Args:
        network: Images (B, C, H, W) and sizes (B, 2) to `boxes.Detections`; put into evaluation mode.
        classes: K names.
        seeing: How an image becomes the network's input.
        device: "auto": a GPU where there is one; or torch's name of a device.

    Raises:
        InputError: A network that reads more than images, or a device that is not there.
    """

    def __init__(
        self, network: nn.Module, classes: Sequence[str], seeing: Seeing | SceneSeeing, device: str = "auto"
    ) -> None:
        if extra := set(getattr(network, "inputs", ())) - {"image", "size"}:
            raise InputError(f"run: its network reads {', '.join(sorted(extra))}, which new images do not have")
        self.device = chosen_device(device)
        self.network = network.to(self.device).eval()
        self.classes, self.seeing = tuple(classes), fitting(seeing, getattr(network, "multiple", 1))

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], least: float = LEAST, batch_size: int = 8
    ) -> Detected | list[Detected]:
        """Say where what is in one image, or in several.

        Args:
            images: A file or a PIL image; or several of them.
            least: Score of the boxes that are told; 0: all of them.
            batch_size: Images that the network sees at a time.

        Raises:
            InputError: One of them cannot be read.
        """
        if isinstance(images, ImageLike):
            return all_of(self.predict([images], least, batch_size))[0]
        return all_of(self.predict(images, least, batch_size))

    def predict(
        self, images: Iterable[ImageLike], least: float = LEAST, batch_size: int = 8
    ) -> Iterator[Detected | LeftOut]:
        """The same, one after the other, where files that cannot be read do not stop it."""
        number("score", least, 0, 1)
        for one in one_by_one(images, batch_size, self._read, self._found):
            yield one if isinstance(one, LeftOut) else self._named(one[0], *one[1]).above(least)

    def _read(self, image: ImageLike) -> _Read:
        with opened(image, self.seeing.background) as picture:
            to_file = torch.from_numpy(self.seeing.to_file(*picture.size)).float()
            return _Read(self.seeing.picture(picture), picture.size, to_file)

    @torch.inference_mode()
    def _found(self, inputs: Sequence[_Read]) -> Iterator[tuple[_Read, Tensor, Tensor, Tensor]]:
        """Each image, boxes (n, 4) in its pixels, scores and labels (n,), on the CPU."""
        images = filled([one.pixels for one in inputs]).to(self.device)
        size = torch.tensor([one.pixels.shape[1:] for one in inputs], device=self.device)
        said = self.network(images, size)
        scores, labels = (values.cpu() for values in surest(said))
        shares = corners(said.boxes.float()).cpu()
        boxes = [_moved(own, one.to_file) for own, one in zip(shares, inputs, strict=True)]
        return zip(inputs, boxes, scores, labels, strict=True)

    def _named(self, name: str, read: _Read, boxes: Tensor, scores: Tensor, labels: Tensor) -> Detected:
        order = scores.argsort(descending=True, stable=True)
        names = tuple(self.classes[label] for label in labels[order].tolist())
        return Detected(name, read.size, boxes[order], scores[order], labels[order], names)


def _moved(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Boxes (N, 4), by their corners, scaled and shifted by a matrix (3, 3)."""
    scale, shift = matrix.diagonal()[:2].repeat(2), matrix[:2, 2].repeat(2)
    return boxes * scale + shift
