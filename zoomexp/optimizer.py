"""timm's optimizers, with a choice of which parameters are exempt from weight decay."""

from collections.abc import Sequence
from typing import Any

import timm.optim
from torch import nn
from torch.optim import Optimizer

from zoomexp.arguments import listed, number, real, truth
from zoomexp.errors import InputError

KINDS = ("norm", "bias", "gate", "module")


def make_optimizer(
    model: nn.Module, *, opt: str, lr: float, weight_decay: float = 0.0, no_decay: Sequence[str] = (), **kwargs: Any
) -> Optimizer:
    """Build a timm optimizer over the parameters that need gradients.

    Args:
        model: The network.
        opt: timm's name: "sgd", "momentum", "adam", "adamw", "lion" ...
        lr: Learning rate, > 0.
        weight_decay: Coupled L2 for SGD and Adam, decoupled for AdamW and Lion; >= 0.
        no_decay: Kinds of parameters without decay: "norm", "bias", "gate" (the scalar gamma of a module, which
            coupled decay drives to zero), "module" (everything in an inserted module).
        kwargs: What else the optimizer takes (momentum, betas, nesterov ...).

    Raises:
        InputError: For an unknown optimizer, argument or kind, or a learning rate or decay out of range.
    """
    if not isinstance(opt, str) or opt not in timm.optim.list_optimizers():
        raise InputError(f"optimizer.opt={opt}: timm has no such optimizer; try sgd, momentum, adam, adamw or lion")
    real("optimizer.lr", lr, lambda rate: rate >= 1e-30, "a finite number above 0")
    number("optimizer.weight_decay", weight_decay, 0)
    _check_kwargs(**kwargs)
    listed("optimizer.no_decay", no_decay, str, f"kinds of parameters; allowed: {', '.join(KINDS)}")
    if unknown := set(no_decay) - set(KINDS):
        raise InputError(f"optimizer.no_decay: unknown {sorted(unknown)}; allowed: {', '.join(KINDS)}")
    groups = decay_groups(model, weight_decay, no_decay)
    try:
        return timm.optim.create_optimizer_v2(groups, opt=opt, lr=lr, weight_decay=weight_decay, **kwargs)
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer: {opt} cannot be built: {error}") from error


def _check_kwargs(
    *, betas: Sequence[float] = (0.9, 0.999), momentum: float = 0.0, nesterov: bool = False, **others: Any
) -> None:
    """Check what most optimizers take and say little about."""
    listed("optimizer.betas", betas, (int, float), "numbers in [0, 1)")
    number("optimizer.momentum", momentum, 0)
    truth("optimizer.nesterov", nesterov)


def decay_groups(model: nn.Module, weight_decay: float, no_decay: Sequence[str]) -> list[dict[str, Any]]:
    """Split the trainable parameters into one group with weight decay and one without; empty groups are left out."""
    groups = {True: [], False: []}
    seen = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                groups[not _kinds(path, module, name) & set(no_decay)].append(parameter)
    decays = {True: weight_decay, False: 0.0}
    return [{"params": params, "weight_decay": decays[decay]} for decay, params in groups.items() if params]


def _kinds(path: str, module: nn.Module, name: str) -> set[str]:
    kinds = {"bias"} if name == "bias" else set()
    kinds |= {"norm"} if "Norm" in type(module).__name__ else set()
    kinds |= {"gate"} if name == "gamma" else set()
    return kinds | ({"module"} if "inserted" in path.split(".") else set())
