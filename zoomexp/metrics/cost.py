"""What a network costs: parameters and multiply-accumulates (the field's "FLOPs").

One multiply-accumulate (MAC) is one product with its addition: a linear layer from m to n on t tokens has t m n, a
convolution one per weight and output position, attention 2 t^2 d. Nothing else counts: no norms, activations, softmax,
poolings, interpolations, gathers. Some of the figures in circulation hold such things too; with two for every value of
a batch norm, as fvcore counts them, the 4.089 G of ResNet-50 become 4.11 G.
"""

from collections.abc import Sequence
from statistics import mean, pstdev

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from zoomexp import protocols


def parameters(net: nn.Module) -> dict[str, int]:
    """`params`, `trainable_params`, `module_params` (of the inserted modules); with a scorer also `scorer_params`."""
    scorer = protocols.scorer(net)
    found = {
        "params": sum(p.numel() for p in net.parameters()),
        "trainable_params": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "module_params": sum(p.numel() for p in protocols.inserted(net).parameters()),
    }
    return found if scorer is None else found | {"scorer_params": sum(p.numel() for p in scorer.parameters())}


def macs(net: nn.Module, *inputs: Tensor | None) -> int:
    """Multiply-accumulates in one forward of an image (1, C, H, W): convolutions, linear layers, attention products.

    Attention runs unfused while it is counted: torch's counter does not know the fused kernel of the CPU. Parameters
    are stood in for by copies without gradient: its hooks stumble over a network that hands a parameter to a layer as
    its input (CaiT's class token). Of a batch, the sum over its images.

    Args:
        net: The network.
        inputs: What it is given: the image, and for some networks a map.
    """
    training, constants = net.training, {name: value.detach() for name, value in net.named_parameters()}
    net.eval()
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            functional_call(net, constants, inputs)
    finally:
        net.train(training)
    return counter.get_total_flops() // 2


def macs_over(net: nn.Module, examples: Sequence[Sequence[Tensor]]) -> dict[str, float]:
    """`macs`, the mean over examples given one by one, `macs_spread`, their standard deviation, and `macs_scorer`.

    For a network whose work depends on the image; `macs_scorer` is the part of its scorer, which `macs` includes.

    Args:
        net: The network.
        examples: What it is given, batches of one.
    """
    counts = [macs(net, *inputs) for inputs in examples]
    found = {"macs": mean(counts), "macs_spread": pstdev(counts)}
    if (scorer := protocols.scorer(net)) is not None:
        image, *maps = examples[0]
        further: Sequence[Tensor | None] = maps or [None]
        found["macs_scorer"] = macs(scorer, image, *further)
    return found
