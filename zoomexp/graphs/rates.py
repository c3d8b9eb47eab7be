"""An optimizer whose step a graph can hold: fused, its counters and its learning rates on the device.

`param_groups` keep their rates as numbers, for schedules, history and checkpoints; the step itself reads tensors, which
are filled where a number has changed. On one GPU every run steps this way, captured or not, so that its numbers do not
depend on that: fused and unfused steps differ in the last bit, and training makes much of it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

FUSED = (SGD, Adam, AdamW)  # torch's own; a subclass may step in another way
OTHERWISE = ("differentiable", "maximize", "dampening")  # dampened, a first momentum is not that of zeros before it


class DeviceRates:
    """Lets an optimizer step with its rates in tensors on a device.

    Args:
        optimizer: one of `FUSED`, before its first step or with the state of a checkpoint.
        device: that of its parameters.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.rates = [torch.zeros((), device=device) for _ in optimizer.param_groups]
        self.numbers: list[float | None] = [None] * len(self.rates)
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, None
        for state in optimizer.state.values():
            if isinstance(count := state.get("step"), Tensor):  # a checkpoint's of another device
                state["step"] = count.to(device, torch.float32)
        optimizer.register_step_pre_hook(self._lend)
        optimizer.register_step_post_hook(self._take_back)

    def refresh(self) -> None:
        """Fill the tensors whose numbers have changed; not while a graph is being captured."""
        for place, group in enumerate(self.optimizer.param_groups):
            if group["lr"] != self.numbers[place]:
                self.numbers[place] = group["lr"]
                self.rates[place].fill_(group["lr"])

    def _lend(self, optimizer: Optimizer, *_: Any) -> None:
        capturing = self.rates[0].is_cuda and torch.cuda.is_current_stream_capturing()
        if not capturing:
            self.refresh()
            if isinstance(optimizer, SGD):
                begin_momentum(optimizer)
        for group, rate in zip(optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate
            if "capturable" in group:  # Adam asks for it in a capture, and warns of it outside
                group["capturable"] = capturing

    def _take_back(self, optimizer: Optimizer, *_: Any) -> None:
        for group, number in zip(optimizer.param_groups, self.numbers, strict=True):
            group["lr"] = number
            if "capturable" in group:
                group["capturable"] = False


def steps_on_device(optimizer: Optimizer) -> bool:
    """Whether `DeviceRates` can take the optimizer: a fused form of torch's own, with none of `OTHERWISE`."""
    plain = not any(group.get(option) for group in optimizer.param_groups for option in OTHERWISE)
    return type(optimizer) in FUSED and plain


def begin_momentum(optimizer: SGD) -> None:
    """Give parameters that learn later than others of their group a momentum of zeros, with which they would begin.

    Fused, torch (2.13) makes momenta only where no parameter of a group has one yet.
    """
    for group in optimizer.param_groups:
        states = [optimizer.state[one] for one in group["params"] if one in optimizer.state]
        if any(state.get("momentum_buffer") is not None for state in states):
            for one in group["params"]:
                if one.requires_grad and optimizer.state[one].get("momentum_buffer") is None:
                    optimizer.state[one]["momentum_buffer"] = torch.zeros_like(one)


def steps_on_host(optimizer: Optimizer) -> None:
    """Undo what a checkpoint of a GPU says of `fused`: on another device the optimizer steps as it was built."""
    for group in optimizer.param_groups:
        if "fused" in group:
            group["fused"] = optimizer.defaults.get("fused")
