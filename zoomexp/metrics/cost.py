"""What a network costs: parameters and multiply-accumulates (the field's "FLOPs").

One multiply-accumulate (MAC) is one product with its addition: a linear layer from m to n on t tokens has t m n, a
convolution one per weight and output position, attention 2 t^2 d. Nothing else counts: no norms, activations, softmax,
poolings, interpolations, gathers. Some of the figures in circulation hold such things too; with two for every value of
a batch norm, as fvcore counts them, the 4.089 G of ResNet-50 become 4.11 G.
"""

from collections.abc import Iterable, Sequence
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
    return _counted(net, inputs)[0]


def macs_over(net: nn.Module, examples: Iterable[Sequence[Tensor]]) -> dict[str, float]:
    """`macs`, the mean over examples given one by one, `macs_spread`, their standard deviation, and `macs_scorer`.

    For a network whose work depends on the image; `macs_scorer` is the part of its scorer, which `macs` includes and
    which is the same for every image.

    Args:
        net: The network.
        examples: What it is given, batches of one; at least one.
    """
    scorer = protocols.scorer(net)
    looks = scorer.scorer if scorer is not None and protocols.rearranges(scorer) else scorer
    counts = [_counted(net, inputs, looks) for inputs in examples]
    every = [whole for whole, _ in counts]
    found: dict[str, float] = {"macs": mean(every), "macs_spread": pstdev(every)}
    return found if scorer is None else found | {"macs_scorer": counts[0][1]}


def _counted(net: nn.Module, inputs: Sequence[Tensor | None], part: nn.Module | None = None) -> tuple[int, int]:
    """As `macs`; and of these what a `part` of the network had, 0 for None."""
    training, constants = net.training, {name: value.detach() for name, value in net.named_parameters()}
    counter, begun, ended = FlopCounterMode(display=False), [0], [0]
    hooks = [] if part is None else [
        part.register_forward_pre_hook(lambda *_: begun.append(counter.get_total_flops())),
        part.register_forward_hook(lambda *_: ended.append(counter.get_total_flops())),
    ]  # fmt: skip
    net.eval()
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            functional_call(net, constants, tuple(inputs))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops() // 2, (sum(ended) - sum(begun)) // 2
