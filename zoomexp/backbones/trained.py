"""The network of a finished run, to go on from: trained further, given other tokens, or tested in another way."""

from pathlib import Path

from torch import nn

from zoomexp.arguments import one_of
from zoomexp.backbones.start_weights import StartWeights
from zoomexp.run.stored_run import restored


def trained(
    *, run: str | Path, num_classes: int, in_chans: int, image_size: int | None = None, name: str = "trained"
) -> nn.Module:
    """Build the network of a run with the weights that were tested.

    Args:
        run: The run folder.
        num_classes: That the data have; must be the network's.
        in_chans: Channels that the data have; must be the network's.
        image_size: Not used: the network has its own.
        name: "trained".

    Raises:
        InputError: If the folder holds no finished run, or one of other data.
    """
    one_of("backbone.name", name, ("trained",))
    net = restored(run, "backbone.run", num_classes=num_classes, in_chans=in_chans)
    net.start_weights = StartWeights(str(run), classifier=True)
    return net.requires_grad_(True).train()
