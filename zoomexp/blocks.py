"""A host's residual blocks: the places within them, before the sum, and between them, after it.

    x -> conv, norm, ... conv, norm -> [within] -> + x -> [between]

CBAM and SE stand within, in their own papers; what is put after a stage or a block stands between. A block is a module
with a shortcut (`shortcut`, `downsample` or `has_skip`, as ResNet20 and timm's ResNets and MobileNets have it) whose
branch ends in a norm of its own, `bn3` or `bn2`: that norm is the place within, the block itself the place between.
"""

from torch import nn

from zoomexp.errors import InputError

PLACES = ("within_blocks", "between_blocks")
NORMS = ("bn3", "bn2")  # the last one that a block has ends its branch


def block_places(net: nn.Module, place: str) -> list[str]:
    """Paths of modules, one a block, in order of depth.

    Args:
        net: the host.
        place: one of `PLACES`.

    Raises:
        InputError: a host that has no such blocks.
    """
    blocks = {path: block for path, block in net.named_modules() if path and _ends_in_norm(block)}
    if not blocks:
        kind = type(net).__name__
        raise InputError(
            f"insertion.at={place}: {kind} has no residual blocks whose branch ends in a batch norm of its own"
        )
    if place == "between_blocks":
        return list(blocks)
    return [f"{path}.{next(norm for norm in NORMS if hasattr(block, norm))}" for path, block in blocks.items()]


def _ends_in_norm(block: nn.Module) -> bool:
    adds = hasattr(block, "shortcut") or hasattr(block, "downsample") or getattr(block, "has_skip", False)
    return bool(adds) and any(isinstance(getattr(block, norm, None), nn.Module) for norm in NORMS)
