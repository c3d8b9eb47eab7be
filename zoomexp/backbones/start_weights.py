"""Where the weights came from that a network has before any training.

A backbone that loads weights says so in an attribute `start_weights`; `build_model` hands it on to the network.
"""

from dataclasses import dataclass, replace
from typing import Protocol, cast

from torch import nn

from zoomexp.errors import InputError

HOW = (
    "choose checkpoint=FILE, backbone.weights=FILE, backbone.pretrained=true or backbone=trained "
    "(a backbone of your own says where its weights are from by an attribute start_weights)"
)


@dataclass(frozen=True)
class StartWeights:
    """Weights that a backbone was built with.

    Args:
        source: what names them: "timm/deit_small_patch16_224.fb_in1k", or a run folder, or what backbone.weights names.
        classifier: whether the last layer is among them; it is not where they are of other classes.
        by_run: whether a run trained them, which held a data set's validation images out.
        temperature: what validation images of that run fitted to the logits (`metrics.temperature`), above 0; None
            where nothing is known of these logits: no such run, or another network now.
    """

    source: str
    classifier: bool
    by_run: bool = False
    temperature: float | None = None


class SaysStartWeights(Protocol):
    """A network that says where its weights are from."""

    start_weights: StartWeights | None


def say_start_weights(net: nn.Module, weights: StartWeights | None) -> None:
    """Have a network say where its weights are from."""
    cast(SaysStartWeights, net).start_weights = weights


def in_another_network(weights: StartWeights | None) -> StartWeights | None:
    """The same weights in a network whose logits are others: modules, tokens or layers are not those of before."""
    return None if weights is None else replace(weights, temperature=None)


def without_classifier(weights: StartWeights | None) -> StartWeights | None:
    """The same weights, of a network that has got other last layers."""
    return None if weights is None else replace(weights, classifier=False)


def check_weights(net: nn.Module, checkpoint: object) -> None:
    """Refuse to test a network of random weights, or one whose last layer is random.

    Args:
        net: with or without `start_weights`.
        checkpoint: the file that the run starts from, which has all weights; None for none.

    Raises:
        InputError: there are no weights, or none of the last layer.
    """
    weights = getattr(net, "start_weights", None)
    if checkpoint is not None:
        return
    if weights is None:
        raise InputError(f"evaluate=start: the network has no weights but random ones; {HOW}")
    if not weights.classifier:
        raise InputError(
            f"evaluate=start: {weights.source} has other classes than the data, so that the last layer has random "
            "weights; choose checkpoint=FILE, or evaluate=best to train it"
        )
