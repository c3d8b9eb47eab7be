"""The network of a finished run, to go on from: trained further, given other tokens, or tested in another way."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from zoomexp.arguments import one_of
from zoomexp.backbones.resized import resize
from zoomexp.backbones.start_weights import StartWeights, in_another_network, say_start_weights
from zoomexp.results.stored import finished_facts
from zoomexp.run.stored_run import restored
from zoomexp.weights.class_names import others


def trained(
    *,
    run: str | Path,
    num_classes: int,
    in_chans: int,
    image_size: int | None = None,
    name: str = "trained",
    class_names: Sequence[str] | None = None,
) -> nn.Module:
    """Build the network of a run with the weights that were tested, and with their temperature while it is the same.

    Args:
        run: The run folder.
        num_classes: That the data have. The last layer is new if the run's data had another number.
        in_chans: Channels that the data have; must be the network's.
        image_size: Side of the images, if not that of the run's: a transformer's positions are resampled.
        name: "trained".
        class_names: Of the data, in the order of the labels. The last layer is new, too, if those of the run's data
            were as many others. None: nobody knows.

    Raises:
        InputError: If the folder holds no finished run, or one of other data.
    """
    one_of("backbone.name", name, ("trained",))
    net = restored(run, "backbone.run", new_classes=num_classes, class_names=class_names, in_chans=in_chans)
    facts, begun = finished_facts(run, "backbone.run"), net.start_weights
    shape = facts["shape"]
    alike = shape["num_classes"] == num_classes and not others(facts.get("classes") or (), class_names or ())
    begun = replace(begun or StartWeights(str(run), classifier=True), source=str(run), classifier=alike)
    say_start_weights(net, begun)
    if image_size is not None:
        resize(net, image_size)
        say_start_weights(net, begun if image_size == shape["image_size"] else in_another_network(begun))
    network: nn.Module = net.requires_grad_(True).train()
    return network
