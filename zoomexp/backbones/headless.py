"""A host without its last layer."""

from typing import Any

import torch
from torch import Tensor, nn


def without_classifier(host: Any) -> None:
    """Replace a host's last layer by an identity: nothing reads it, and it would be counted."""
    if hasattr(host, "reset_classifier"):
        host.reset_classifier(0)
    else:
        last = host.get_classifier()
        name = next(name for name, module in host.named_modules() if module is last)
        parent, _, attribute = name.rpartition(".")
        setattr(host.get_submodule(parent), attribute, nn.Identity())


def unread(net: nn.Module, said: Tensor) -> nn.ParameterList:
    """The trained parameters of `net` that `said`, its output of any shape, does not depend on."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(said.sum(), trained, allow_unused=True)
    return nn.ParameterList(one for one, of_one in zip(trained, gradients, strict=True) if of_one is None)
