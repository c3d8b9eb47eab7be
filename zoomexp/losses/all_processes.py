"""What a loss takes over the whole batch, whose images several processes share.

Gradients are averaged over processes, and all have as many images, so the mean over a process's own ones is that of the
batch. What a loss divides by something that they do not have alike is taken together here, and only in training:
processes may validate different numbers of batches, and would wait for one another.
"""

from typing import Any, cast

import torch
from torch import Tensor


def of_a_process(total: Tensor) -> Tensor:
    """The mean over processes of what each has in this step, to divide by; no gradient passes."""
    own = total.detach()
    if not together():
        return own
    return _summed(own) / torch.distributed.get_world_size()


def of_all(total: Tensor) -> Tensor:
    """The sum over processes; gradients pass to each."""
    return cast(Tensor, cast(Any, _Sum).apply(total)) if together() else total


class _Sum(torch.autograd.Function):
    """Every process has the sum and reads it, so each part's gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, total: Tensor) -> Tensor:
        return _summed(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(own: Tensor) -> Tensor:
    own = own.clone()
    torch.distributed.all_reduce(own)
    return own


def together() -> bool:
    """Whether this is a training step that several processes take."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return there and torch.is_grad_enabled() and torch.distributed.get_world_size() > 1
