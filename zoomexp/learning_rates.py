"""A learning rate for every parameter: layer-wise decay, and factors for the head and for what was added to the host.

Layer-wise decay as it is used to fine-tune vision transformers (Clark et al. 2020, arXiv 2003.10555; BEiT, arXiv
2106.08254), with timm's layers and timm's factors:

    factor of layer i of 0..n = layer_decay^(n - i)

where layer 0 is the stem, layer n what follows the last block, the classifier included.
"""

from typing import Any, cast

from torch import nn

from zoomexp.arguments import finite
from zoomexp.errors import InputError


def factors(net: nn.Module, *, layer_decay: float | None, head_factor: float, module_factor: float) -> dict[str, float]:
    """The factor on the learning rate of each parameter, by name.

    Args:
        net: a timm model, with or without modules inserted, or a token method around one.
        layer_decay: in (0, 1]; None: the host's layers learn alike.
        head_factor: of the classifier, in the place of its layer's, above 0.
        module_factor: of inserted modules and of what a token method adds to the host, above 0.

    Raises:
        InputError: an argument out of its range, or a host whose layers or classifier are not known.
    """
    if layer_decay is not None:
        finite("optimizer.layer_decay", layer_decay, lambda share: 0 < share <= 1, "a number in (0, 1], or null")
    for field, value in (("head_factor", head_factor), ("module_factor", module_factor)):
        finite(f"optimizer.{field}", value, lambda factor: factor > 0, "a finite number above 0")
    prefix, host = host_of(net)
    found = {name: module_factor for name, _ in net.named_parameters()}
    own = [name for name, _ in host.named_parameters() if "inserted" not in name.split(".")]
    found |= {prefix + name: 1.0 for name in own}
    if layer_decay is not None:
        found |= {prefix + name: factor for name, factor in layer_factors(host, own, layer_decay).items()}
    if hasattr(net, "get_classifier") and net is not host:  # has heads of its own around its host
        found |= dict.fromkeys(head_of(net), head_factor)
    elif head_factor != 1:
        found |= {prefix + name: head_factor for name in head_of(host)}
    return found


def host_of(net: nn.Module) -> tuple[str, nn.Module]:
    """The host and how its parameters' names begin: a token method keeps it as `vit` or `host`, else it is `net`."""
    for name in ("vit", "host"):
        if isinstance(inner := getattr(net, name, None), nn.Module):
            prefix, host = host_of(inner)
            return f"{name}.{prefix}", host
    return "", net


def layer_factors(host: nn.Module, names: list[str], layer_decay: float) -> dict[str, float]:
    """The factor of each of the host's own parameters `names`.

    Raises:
        InputError: a host that does not say which layer a parameter is of.
    """
    from timm.models import group_parameters

    if not hasattr(host, "group_matcher"):
        raise InputError(f"optimizer.layer_decay={layer_decay}: {type(host).__name__} lists no layers (group_matcher)")
    layers = group_parameters(host, cast(Any, host).group_matcher(coarse=False), reverse=True)
    last = max(layers[name] for name in names)
    return {name: layer_decay ** (last - layers[name]) for name in names}


def head_of(host: nn.Module) -> list[str]:
    """The names of the classifier's parameters.

    Raises:
        InputError: a host that does not say which they are.
    """
    if not hasattr(host, "get_classifier"):
        raise InputError(f"optimizer.head_factor: {type(host).__name__} names no classifier (get_classifier)")
    heads = cast(Any, host).get_classifier()
    heads = heads if isinstance(heads, tuple | list) else (heads,)
    of_head = {id(parameter) for head in heads for parameter in head.parameters()}
    return [name for name, parameter in host.named_parameters() if id(parameter) in of_head]
