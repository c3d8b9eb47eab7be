"""What a network costs: parameters and multiply-accumulates (the field's "FLOPs")."""

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def parameters(net: nn.Module) -> dict[str, int]:
    """`params`, `trainable_params` and `module_params` (those of the inserted modules)."""
    inserted = getattr(net, "inserted", nn.Module())
    return {
        "params": sum(p.numel() for p in net.parameters()),
        "trainable_params": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "module_params": sum(p.numel() for p in inserted.parameters()),
    }


def macs(net: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates in one forward of `image` (1, C, H, W): convolutions, linear layers, attention products.

    Attention runs unfused while it is counted: torch's counter does not know the fused kernel of the CPU.
    """
    training = net.training
    net.eval()
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            net(image)
    finally:
        net.train(training)
    return counter.get_total_flops() // 2
