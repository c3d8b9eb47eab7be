"""Detection tokens for a vision transformer: learned tokens beside its own, one for each box it may say.

"You Only Look at One Sequence" (YOLOS, Fang et al., NeurIPS 2021, arXiv 2106.00666), section 3. The paper puts them
after the patches; here they stand in front, behind the class token, where timm has a transformer's registers, which is
the same to attention. So they are prefix tokens to every token method: never pruned, never merged, never zoomed.

    x0 = [class; det_1 .. det_n; patches] + P        P of the patches: the host's, made a parameter of another grid

A distilled host loses its distillation token.
"""

from typing import Any, cast

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp import protocols
from zoomexp.arguments import integer
from zoomexp.errors import InputError
from zoomexp.tokens import host

SPREAD = 0.02  # of new tokens and positions


def add_detection_tokens(
    vit: VisionTransformer, count: int, grid: tuple[int, int] | None = None, detached: bool = False
) -> None:
    """Change a host in place.

    Args:
        vit: the host. Its positions will be resampled without antialiasing, as the paper's code does.
        count: detection tokens, at least 1.
        grid: rows and columns of patches that its positions become parameters of; None: those it has.
        detached: the new tokens are not trained.

    Raises:
        InputError: a host that cannot be run, no token, or detached ones beside registers of the host's own.
    """
    host.check_host(vit)
    integer("detector.boxes", count)
    cast(protocols.ResamplesPlainly, vit).resamples_plainly = True
    _drop_distillation(vit)
    if vit.pos_embed is not None:
        vit.pos_embed = nn.Parameter(_positions(vit, count, grid))
        vit.no_embed_class = False
    tokens = torch.empty(1, count, vit.embed_dim)
    nn.init.trunc_normal_(tokens, std=SPREAD)
    own = [] if vit.reg_token is None else [vit.reg_token.detach()]
    if own and detached:
        raise InputError("detector.detached=true: the host has registers of its own, which train; detached=false")
    vit.reg_token = nn.Parameter(torch.cat([*own, tokens], 1), requires_grad=not detached)
    vit.num_reg_tokens += count
    vit.num_prefix_tokens += count
    if grid is not None:
        vit.patch_embed.grid_size, vit.patch_embed.num_patches = grid, grid[0] * grid[1]


def _positions(vit: VisionTransformer, count: int, grid: tuple[int, int] | None) -> Tensor:
    """(1, P + count + n, D): the prefix's own (0 where it has none), the detection tokens', the patches'."""
    old, prefix = vit.patch_embed.grid_size, 0 if vit.no_embed_class else vit.num_prefix_tokens
    with torch.no_grad():
        patches = host.patch_positions(vit, grid or tuple(old))
    learned = vit.pos_embed
    own = (
        learned.detach()[0, :prefix]
        if prefix and learned is not None
        else patches.new_zeros(vit.num_prefix_tokens, vit.embed_dim)
    )
    added = torch.empty(count, vit.embed_dim)
    nn.init.trunc_normal_(added, std=SPREAD)
    return torch.cat([own, added, patches])[None]


def _drop_distillation(vit: VisionTransformer) -> None:
    """Take away the distillation token, which follows the class token, and its position."""
    if getattr(vit, "dist_token", None) is None:
        return
    if vit.pos_embed is not None and not vit.no_embed_class:
        vit.pos_embed = nn.Parameter(torch.cat([vit.pos_embed[:, :1], vit.pos_embed[:, 2:]], 1).detach())
    cast(Any, vit).dist_token = None
    vit.num_prefix_tokens -= 1
