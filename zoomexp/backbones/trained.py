"""The network of a finished run, to go on from: trained further, given other tokens, or tested in another way."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from zoomexp.arguments import one_of
from zoomexp.backbones.resized import resize
from zoomexp.backbones.start_weights import StartWeights, in_another_network, say_start_weights
from zoomexp.results.stored import finished_facts
from zoomexp.run.stored_run import restored


def trained(
    *, run: str | Path, num_classes: int, in_chans: int, image_size: int | None = None, name: str = "trained"
) -> nn.Module:
    """Build the network of a run with the weights that were tested, and with their temperature while it is the same.

    Args:
        run: The run folder.
        num_classes: That the data have. The last layer is new if the run's data had another number.
        in_chans: Channels that the data have; must be the network's.
        image_size: Side of the images, if not that of the run's: a transformer's positions are resampled.
        name: "trained".

    Raises:
        InputError: If the folder holds no finished run, or one of other data.
    """
    one_of("backbone.name", name, ("trained",))
    net = restored(run, "backbone.run", new_classes=num_classes, in_chans=in_chans)
    facts = finished_facts(run, "backbone.run")
    shape, begun = facts["shape"], net.start_weights or StartWeights(str(run), classifier=True)
    begun = replace(begun, source=str(run), classifier=shape["num_classes"] == num_classes)
    say_start_weights(net, begun)
    if image_size is not None:
        resize(net, image_size)
        say_start_weights(net, begun if image_size == shape["image_size"] else in_another_network(begun))
    network: nn.Module = net.requires_grad_(True).train()
    return network
