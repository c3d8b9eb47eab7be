"""Where a vision transformer's learned positions begin: at random, or at sinusoids of rows and columns.

timm draws them with a spread of 0.02, and where only the image's class is asked for they stay small beside the patches:
a transformer of digits had positions of norm 0.7 under patches of norm 8.7. Detection learns from them where things
are, and takes several times as long. The sinusoids are timm's (`build_sincos2d_pos_embed`), those of MAE (He et al.
2022, arXiv 2111.06377), where they are not trained.
"""

from typing import Any

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models import VisionTransformer
from torch import nn

from zoomexp.arguments import one_of
from zoomexp.errors import InputError

KINDS = ("random", "sinusoid_2d")


def start_positions(net: nn.Module, kind: str) -> None:
    """Let the positions of a timm model's patches begin as said, in place; those of its prefix stay as they are drawn.

    Args:
        net: the model; anything for "random", which changes nothing.
        kind: one of KINDS.

    Raises:
        InputError: another kind, a model without learned positions of a grid, one that starts from weights, which have
            theirs, or a width that is no multiple of 4.
    """
    one_of("backbone.position_start", kind, KINDS)
    if kind == "random":
        return
    learned: Any = getattr(net, "pos_embed", None)
    if not isinstance(net, VisionTransformer) or learned is None:
        raise InputError(f"backbone.position_start={kind}: {type(net).__name__} has no learned positions of patches")
    if getattr(net, "start_weights", None) is not None:
        raise InputError(f"backbone.position_start={kind}: the weights bring their own positions; random")
    if net.embed_dim % 4:
        raise InputError(f"backbone.position_start={kind}: embed_dim={net.embed_dim} must be a multiple of 4")
    rows, columns = net.patch_embed.grid_size
    with torch.no_grad():
        learned[0, -rows * columns :] = build_sincos2d_pos_embed([rows, columns], net.embed_dim)
