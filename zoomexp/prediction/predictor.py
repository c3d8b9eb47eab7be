"""A finished run's network that names what is in images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.datasets.seeing import Seeing, opened
from zoomexp.errors import InputError
from zoomexp.metrics.map_shape import entropy
from zoomexp.prediction.reading import ImageLike, LeftOut, all_of, chosen_device, one_by_one
from zoomexp.tasks.localising import maps_of


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network makes of one image.

    Args:
        name: The file, or "image" for one that was given as such.
        top: The likeliest classes and their probabilities, 0..1, best first.
        probabilities: (K,), of all classes.
        maps: (h, w) each, at least 0, by site: the central square that the network saw.
    """

    name: str
    top: tuple[tuple[str, float], ...]
    probabilities: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Its probability, 0..1."""
        return self.top[0][1]

    def statistics(self) -> dict[str, float]:
        """Of every map its mean, its highest value and where (0..1 from the left and from the top), and its entropy.

        The entropy is that of the map's mass, 1 for a flat map (`metrics.map_shape`).
        """
        found: dict[str, float] = {}
        for site, heat in self.maps.items():
            row, column = divmod(int(heat.argmax()), heat.shape[1])
            found |= {
                f"{site}/mean": float(heat.mean()),
                f"{site}/max": float(heat.max()),
                f"{site}/peak_x": (column + 0.5) / heat.shape[1],
                f"{site}/peak_y": (row + 0.5) / heat.shape[0],
                f"{site}/entropy": float(entropy(heat[None, None])),
            }
        return found


class Predictor:
    """A network, its classes and how it sees images.

    Args:
        network: Images (B, C, S, S) to logits (B, K); put into evaluation mode.
        classes: K names.
        seeing: How an image becomes the network's input.
        device: "auto": a GPU where there is one; or torch's name of a device.

    Raises:
        InputError: A network that gives no classes or reads more than images, or a device that is not there.
    """

    def __init__(self, network: nn.Module, classes: Sequence[str], seeing: Seeing, device: str = "auto") -> None:
        if getattr(network, "gives_maps", False):
            raise InputError("run: its network gives maps, not classes")
        if tuple(getattr(network, "inputs", ("image",))) != ("image",):
            raise InputError("run: its network reads a teacher's maps beside the images, which new images do not have")
        self.device = chosen_device(device)
        self.network = network.to(self.device).eval()
        self.classes, self.seeing = tuple(classes), seeing

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], top: int = 5, batch_size: int = 32
    ) -> Prediction | list[Prediction]:
        """Name what is in one image, or in several.

        Args:
            images: A file or a PIL image; or several of them.
            top: How many classes to name.
            batch_size: Images that the network sees at a time.

        Raises:
            InputError: One of them cannot be read.
        """
        if isinstance(images, ImageLike):
            return all_of(self.predict([images], top, batch_size))[0]
        return all_of(self.predict(images, top, batch_size))

    def predict(
        self, images: Iterable[ImageLike], top: int = 5, batch_size: int = 32
    ) -> Iterator[Prediction | LeftOut]:
        """The same, one after the other, where files that cannot be read do not stop it."""
        integer("top", top)
        for one in one_by_one(images, batch_size, self._read, self._found):
            yield one if isinstance(one, LeftOut) else self._named(one[0], *one[1], top)

    def _read(self, image: ImageLike) -> Tensor:
        with opened(image, self.seeing.background) as picture:
            return self.seeing.picture(picture)

    @torch.inference_mode()
    def _found(self, inputs: Sequence[Tensor]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Probabilities (K,) and maps (h, w) of each image of a batch, (C, S, S) each, on the CPU."""
        images = torch.stack(list(inputs)).to(self.device).contiguous(memory_format=torch.channels_last)
        probabilities = self.network(images).float().softmax(1).cpu()
        maps = {site: heat[:, 0].float().cpu() for site, heat in maps_of(self.network).items()}
        return zip(
            probabilities, [{site: heat[i] for site, heat in maps.items()} for i in range(len(images))], strict=True
        )

    def _named(self, name: str, probabilities: Tensor, maps: dict[str, Tensor], top: int) -> Prediction:
        best = probabilities.topk(min(top, len(probabilities)))
        named = tuple((self.classes[i], float(p)) for p, i in zip(best.values, best.indices.tolist(), strict=True))
        return Prediction(name, named, probabilities, maps)
