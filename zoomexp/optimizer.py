"""timm's optimizers, with a choice of which parameters are exempt from weight decay, and which learn at what rate."""

import inspect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import timm.optim
from torch import nn
from torch.optim import Optimizer

from zoomexp.arguments import boolean, finite, list_of, number
from zoomexp.errors import InputError
from zoomexp.learning_rates import factors

KINDS = ("norm", "bias", "gate", "module", "token")
TOKENS = {"cls_token", "reg_token", "dist_token", "pos_embed"}  # of a vision transformer, timm's names
# Arguments of timm that act on models alone: it passes over them where it is given groups of parameters.
IDLE = set(inspect.signature(timm.optim.create_optimizer_v2).parameters) - {
    "model_or_params", "opt", "lr", "weight_decay", "momentum", "foreach", "kwargs",
}  # fmt: skip


def make_optimizer(
    model: nn.Module,
    *,
    opt: str,
    lr: float,
    weight_decay: float = 0.0,
    no_decay: Sequence[str] = (),
    layer_decay: float | None = None,
    head_factor: float = 1.0,
    module_factor: float = 1.0,
    **kwargs: Any,
) -> Optimizer:
    """Build a timm optimizer over the parameters that need gradients.

    Args:
        model: The network.
        opt: timm's name: "sgd", "momentum", "adam", "adamw", "lion" ...
        lr: Learning rate, > 0.
        weight_decay: Coupled L2 for SGD and Adam, decoupled for AdamW and Lion; >= 0.
        no_decay: Kinds of parameters without decay: "norm", "bias", "gate" (the scalar gamma of a module, which
            coupled decay drives to zero), "module" (everything in an inserted module), "token" (a transformer's learned
            tokens and their positions).
        layer_decay: Factor from each layer's learning rate to that of the one below (see `learning_rates`). A group
            with a factor of its own has it as `lr_scale`, and its rate is `lr` times that.
        head_factor: Factor on the learning rate of the classifier.
        module_factor: Factor on that of inserted modules.
        kwargs: What else the optimizer takes (momentum, betas, nesterov ...).

    Raises:
        InputError: For an unknown optimizer, argument or kind, a learning rate or decay out of range, or a model whose
            layers are not known.
    """
    if not isinstance(opt, str) or opt not in timm.optim.list_optimizers():
        raise InputError(f"optimizer.opt={opt}: timm has no such optimizer; try sgd, momentum, adam, adamw or lion")
    finite("optimizer.lr", lr, lambda rate: rate >= 1e-30, "a finite number above 0")
    number("optimizer.weight_decay", weight_decay, 0)
    _check_kwargs(**kwargs)
    list_of("optimizer.no_decay", no_decay, str, f"kinds of parameters; allowed: {', '.join(KINDS)}")
    if unknown := set(no_decay) - set(KINDS):
        raise InputError(f"optimizer.no_decay: unknown {sorted(unknown)}; allowed: {', '.join(KINDS)}")
    scales = factors(model, layer_decay=layer_decay, head_factor=head_factor, module_factor=module_factor)
    groups = parameter_groups(model, lr, weight_decay, no_decay, scales)
    try:
        optimizer = timm.optim.create_optimizer_v2(groups, opt=opt, lr=lr, weight_decay=weight_decay, **kwargs)
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer: {opt} cannot be built: {error}") from error
    _check_taken(opt, optimizer, kwargs)
    return optimizer


def _check_kwargs(
    *, betas: Sequence[float] = (0.9, 0.999), momentum: float = 0.0, nesterov: bool = False, **others: Any
) -> None:
    """Check what most optimizers take and say little about, and refuse what timm does with models, and not with groups.

    timm passes over the latter where it is given groups of parameters.
    """
    list_of("optimizer.betas", betas, (int, float), "numbers in [0, 1)")
    number("optimizer.momentum", momentum, 0)
    boolean("optimizer.nesterov", nesterov)
    if idle := sorted(IDLE & set(others)):
        raise InputError(
            f"optimizer.{idle[0]}: no such option; allowed: no_decay, layer_decay, head_factor, module_factor"
        )


def _check_taken(opt: str, optimizer: Optimizer, kwargs: Mapping[str, Any]) -> None:
    """Refuse what timm drops without a word because the optimizer has no such option."""
    algorithm = getattr(optimizer, "base_optimizer", getattr(optimizer, "_base_optimizer", optimizer))
    known = inspect.signature(type(algorithm)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in kwargs:
        if name not in known and name not in algorithm.defaults:
            allowed = ", ".join(option for option in known if option not in ("params", "lr", "weight_decay"))
            raise InputError(f"optimizer.{name}: {opt} has no such option; allowed: {allowed}")


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    no_decay: Sequence[str],
    scales: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Split the trainable parameters by weight decay and learning rate; empty groups are left out.

    Args:
        model: The network.
        lr: Learning rate of parameters without a factor.
        weight_decay: Of parameters that are not exempt.
        no_decay: Kinds of parameters without decay.
        scales: The factor on the learning rate of each parameter, by its name.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    seen = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                scale = scales[f"{path}.{name}" if path else name]
                groups[scale, not _kinds(path, module, name) & set(no_decay)].append(parameter)
    order = sorted(groups, key=lambda group: (-group[0], not group[1]))
    return [_group(groups[scale, decay], scale, lr, weight_decay if decay else 0.0) for scale, decay in order]


def _group(parameters: list[nn.Parameter], scale: float, lr: float, weight_decay: float) -> dict[str, Any]:
    own_rate = {} if scale == 1 else {"lr": lr * scale, "lr_scale": scale}
    return {"params": parameters, "weight_decay": weight_decay} | own_rate


def _kinds(path: str, module: nn.Module, name: str) -> set[str]:
    kinds = {"bias"} if name == "bias" else set()
    kinds |= {"norm"} if "Norm" in type(module).__name__ else set()
    kinds |= {"gate"} if name == "gamma" else set()
    kinds |= {"token"} if name in TOKENS else set()
    return kinds | ({"module"} if "inserted" in path.split(".") else set())
