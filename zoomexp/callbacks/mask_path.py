"""How much of the gradient reaches a module's input through its mask, and how much past it.

Of y = x . m(x), and g = dL/dy, the gradient that comes back to y,

    dL/dx  =  m . g  +  (dm/dx)^T (x . g)        direct + through the mask
    share  =  ||through|| / (||direct|| + ||through||)

with norms over all images, channels and positions. "Direct" is the module's gradient while its mask is held
(`attention.spatial_map.SpatialMask.held`), "through" what the whole one has more. So what else is in a module counts
as direct, as CBAM's channel gate and its residual, and a mask that does not depend on x has a share of 0.
"""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp import protocols
from zoomexp.attention.spatial_map import SpatialMask


def mask_shares(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """The share of each inserted module that multiplies by a mask, where L is the mean cross-entropy of the images.

    No gradient is kept in any parameter.

    Args:
        net: Gives logits (B, K).
        images: (B, C, S, S).
        labels: (B,) int64.

    Returns:
        Numbers in [0, 1] by place; NaN where no gradient comes back. Modules without a map have none.
    """
    masks = {site: one for site, one in protocols.acting(net).items() if isinstance(one, SpatialMask)}
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(site: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        whole = output if output.requires_grad else output.requires_grad_()  # all before it may be frozen
        seen.setdefault(site, (given[0].detach(), whole))
        return whole

    hooks = [module.register_forward_hook(partial(keep, site)) for site, module in masks.items()]
    try:
        with torch.enable_grad():
            loss = F.cross_entropy(net.forward(images), labels)
    finally:
        for hook in hooks:
            hook.remove()
    outputs = [output for _, output in seen.values()]
    gradients = torch.autograd.grad(loss, outputs, allow_unused=True) if outputs else ()
    pairs = zip(seen.items(), gradients, strict=True)
    return {site: mask_share(masks[site], x, g) for (site, (x, _)), g in pairs
            if g is not None and masks[site].map is not None}  # fmt: skip


def mask_share(module: SpatialMask, x: Tensor, g: Tensor) -> float:
    """The share of one module for inputs x (B, C, H, W) and the gradient g of what it gives for them.

    >>> from zoomexp.attention.loupe import Loupe
    >>> mask_share(Loupe(2, mask="constant"), torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3))
    0.0
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (whole,) = torch.autograd.grad(cast(Any, module.forward)(x), x, g)
        module.held = cast(Tensor, module.map).detach()
        try:
            (direct,) = torch.autograd.grad(cast(Any, module.forward)(x), x, g)
        finally:
            module.held = None
    through, past = (one.float().norm() for one in (whole - direct, direct))
    return float(through / (through + past))
