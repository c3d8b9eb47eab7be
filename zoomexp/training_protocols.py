"""What networks, their parts and losses may say of training; what holds in every forward is in `protocols`.

All of it is optional; the functions at the end say what holds where it is missing. Shapes: B images, S x S patches,
K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, cast

from torch import Tensor, nn


class LearnsOnItsOwn(Protocol):
    """A part that adds to the loss in training: `auxiliary_loss`, set by each forward.

    A scalar, a function of the task's targets that gives one, or None.
    """

    auxiliary_loss: Tensor | Callable[[Any], Tensor] | None


class FollowsEpochs(Protocol):
    """A part that trains differently in some epochs: it is told of each before it begins.

    `changes` is false where all epochs are alike after all. Tests, and training that is told nothing, are as the last.
    """

    changes: bool

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Epoch number `epoch`, counted from 0, of `epochs` begins."""


class GivesFurtherLogits(Protocol):
    """A classifier with further logits to train: `auxiliary_logits`, by name a weight and (B, K) or (B, N, K).

    Set by each forward in training, None otherwise. N logits of an image all learn the targets of that image.
    """

    auxiliary_logits: dict[str, tuple[float, Tensor]] | None


class WeighsLogits(Protocol):
    """A classifier whose own logits count in training with a weight, `logit_weight`, beside further ones."""

    logit_weight: float


class LearnsOneClass(Protocol):
    """A network whose own loss takes the one label of each image, not shares of several: `one_class` is true."""

    one_class: bool


class LearnsPatches(Protocol):
    """A network whose further logits are of all patches of a square, row by row: `learns_patches` is true."""

    learns_patches: bool


class MixesTokens(Protocol):
    """A network that mixes the images of a training batch itself: `mixes_tokens` is true where it does.

    `mixed_share`, in [0, 1], is what of each image was another's in the last forward: that as far from the batch's end.
    """

    mixes_tokens: bool
    mixed_share: float


class WaitsForHost(Protocol):
    """A loss that works on the CPU in between, which no graph of a step can hold: `waits_for_host` is true."""

    waits_for_host: bool


class LooksInside(Protocol):
    """A callback that sees some training steps from inside, by modules' hooks: `looking` is true before such a step."""

    looking: bool


class ComparesMaps(Protocol):
    """A loss of maps (B, S, S) and maps, and not of logits and classes: `compares_maps` is true."""

    compares_maps: bool


class ComparesBoxes(Protocol):
    """A loss of `boxes.Detections` and `boxes.Objects`, and not of logits and classes: `compares_boxes` is true."""

    compares_boxes: bool


class ComparesPixels(Protocol):
    """A loss of logits (B, K, H, W) and classes (B, H, W), not of classes of images: `compares_pixels` is true."""

    compares_pixels: bool


class ClassLoss(Protocol):
    """A loss of logits (B, K) and targets, (B,) int64 or (B, K) shares of classes.

    `compared` names the term that `compare` gives; only networks that weigh their logits ask for it.
    """

    compared: str

    def __call__(self, logits: Tensor, target: Tensor, maps: Mapping[str, Tensor], epoch: float) -> dict[str, Tensor]:
        """Scalars by name, means over the batch, given the inserted modules' maps and how far the training is."""

    def compare(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar of logits (N, K) alone; only networks that give further logits ask for it."""


def waits_for_host(loss: nn.Module) -> bool:
    """Whether a loss works on the CPU in between; it does not unless it says so."""
    return getattr(loss, "waits_for_host", False)


def onlookers(callbacks: Iterable[object]) -> list[LooksInside]:
    """Those of some callbacks that see some steps from inside; none does unless it says so."""
    return [cast(LooksInside, one) for one in callbacks if hasattr(one, "looking")]


def compares_maps(loss: nn.Module) -> bool:
    """Whether a loss is one of maps; it is not unless it says so."""
    return getattr(loss, "compares_maps", False)


def compares_boxes(loss: nn.Module) -> bool:
    """Whether a loss is one of boxes; it is not unless it says so."""
    return getattr(loss, "compares_boxes", False)


def compares_pixels(loss: nn.Module) -> bool:
    """Whether a loss is one of pixels; it is not unless it says so."""
    return getattr(loss, "compares_pixels", False)


def own_loss(part: object) -> Tensor | Callable[[Any], Tensor] | None:
    """What a part adds to the loss after a forward in training; nothing unless it says so."""
    return getattr(part, "auxiliary_loss", None)


def following_epochs(network: nn.Module) -> Iterator[FollowsEpochs]:
    """The parts of a network, itself included, that train differently in some epochs; none unless they say so."""
    return (cast(FollowsEpochs, part) for part in network.modules() if getattr(part, "changes", False))


def further_logits(part: object) -> dict[str, tuple[float, Tensor]]:
    """Further logits to train after a forward in training; none unless it says so."""
    return getattr(part, "auxiliary_logits", None) or {}


def logit_weight(network: object) -> float:
    """The weight of a network's own logits in training; 1 unless it says so."""
    return getattr(network, "logit_weight", 1.0)


def learns_one_class(network: nn.Module) -> bool:
    """Whether a network's own loss takes one label of each image; it does not unless it says so."""
    return getattr(network, "one_class", False)


def learns_patches(network: nn.Module) -> bool:
    """Whether a network's further logits are those of its patches; they are not unless it says so."""
    return getattr(network, "learns_patches", False)


def mixes_tokens(network: nn.Module) -> bool:
    """Whether a network mixes the images of a training batch itself; it does not unless it says so."""
    return getattr(network, "mixes_tokens", False)


def mixed_share(network: nn.Module) -> float:
    """What of each image was its partner's in a network's last forward; nothing unless it says so."""
    return getattr(network, "mixed_share", 0.0)
