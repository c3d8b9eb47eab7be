"""What the maps need to know of a timm `VisionTransformer`: that it is one, where it reads its class from, its grid."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from timm.layers import Attention, Mlp
from timm.models import VisionTransformer
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp import protocols
from zoomexp.errors import InputError

POOLS = ("token", "avg")
FEWEST_TOKENS = 16  # a matrix product of fewer rows takes another kernel, which would round by the size of the batch


def check(model: nn.Module, images: Tensor, targets: Tensor) -> VisionTransformer:
    """Refuse what no map can be made of; returns the model, as what it is.

    Raises:
        InputError: a backbone that is no `VisionTransformer`, images that do not fit its patch grid, a grid that is
            not square, or targets that are no classes of the model's.
    """
    name = type(model).__name__
    if not isinstance(model, VisionTransformer) or not all(_has_map(block) for block in model.blocks):
        raise InputError(f"relevance: {name} has no attention maps; allowed: timm's VisionTransformer (deit, vit)")
    if protocols.reads_patches(model):
        raise InputError(f"relevance: {name} reads its class from all tokens; allowed: hosts that read one, or a mean")
    if model.global_pool not in POOLS:
        raise InputError(f"relevance: global_pool must be one of {', '.join(POOLS)}, got {model.global_pool!r}")
    _check_grid(model, images)
    classes = model.num_classes
    if targets.shape != images.shape[:1] or targets.is_floating_point():
        raise InputError(f"relevance: targets must be {len(images)} class numbers, got shape {tuple(targets.shape)}")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise InputError(f"relevance: targets must lie in 0..{classes - 1}, got {targets.min()}..{targets.max()}")
    return model


def attentions(model: VisionTransformer) -> list[nn.Module]:
    """The attention modules of a host's blocks, in order."""
    return [block.get_submodule("attn") for block in model.blocks]


def check_rules(model: VisionTransformer) -> None:
    """Refuse hosts with operations that have no relevance rule.

    Raises:
        InputError: blocks, attention or MLPs of another kind than DeiT's, or modules inserted into the host.
    """
    for block in model.blocks:
        parts = (type(block) is Block, type(block.attn) is Attention, isinstance(block.mlp, Mlp))
        if not all(parts) or getattr(block.attn, "gate", None) is not None:
            kinds = f"{type(block).__name__}, {type(block.attn).__name__}, {type(block.mlp).__name__}"
            raise InputError(f"relevance: lrp has rules for Block with plain Attention and Mlp, not for {kinds}")
    if protocols.inserted(model):
        raise InputError("relevance: lrp has no rules for inserted modules; take grad_attn or attention=none")


def readout(model: VisionTransformer, like: Tensor) -> Tensor:
    """The weights (B, N) with which the class is read from the tokens: 1 at the class token, or a mean over patches.

    Args:
        model: the host; a distilled one reads the class and the distillation token, each with 1/2.
        like: (B, h, N, N), an attention matrix.
    """
    weights = torch.zeros(len(like), like.shape[-1], dtype=like.dtype, device=like.device)
    if model.global_pool == "avg":
        tokens = slice(0 if model.pool_include_prefix else model.num_prefix_tokens, None)
    else:
        tokens = slice(0, _read_tokens(model))
    weights[:, tokens] = 1
    return weights / weights.sum(1, keepdim=True)


@contextmanager
def unread_tokens_skipped(model: VisionTransformer) -> Iterator[None]:
    """Run the last block's projection and MLP on the first tokens alone, which hold those the class is read from.

    The others get 0 from them; the logits stay as they are. Nothing is skipped where all tokens are read, or where an
    inserted module may follow.
    """
    last, lengths = model.blocks[-1], []
    count = max(_read_tokens(model), FEWEST_TOKENS)  # all of them where there are fewer

    def narrow(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        lengths.append(args[0].shape[1])
        return (args[0][:, :count],)

    def widen(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return F.pad(output, (0, 0, 0, lengths.pop() - output.shape[1]))

    with ExitStack() as stack:
        if model.global_pool == "token" and type(last) is Block and not protocols.inserted(model):
            for module in (last.get_submodule("attn.proj"), last.get_submodule("mlp")):
                stack.callback(module.register_forward_pre_hook(narrow).remove)
                stack.callback(module.register_forward_hook(widen).remove)
        yield


def patch_map(model: VisionTransformer, row: Tensor) -> Tensor:
    """The patches' part of a row over tokens: (B, N) to (B, S, S)."""
    patches = row[:, model.num_prefix_tokens :]
    side = round(patches.shape[1] ** 0.5)
    grid: Tensor = patches.unflatten(1, (side, side))
    return grid


def grid_side(model: nn.Module, image_size: int) -> int:
    """S of the maps that a host makes of images of that side.

    Raises:
        InputError: A backbone that is no `VisionTransformer`, or images that do not fit its patch grid.
    """
    if not isinstance(model, VisionTransformer):
        name = type(model).__name__
        raise InputError(f"relevance: {name} has no attention maps; allowed: timm's VisionTransformer (deit, vit)")
    _check_grid(model, torch.empty(1, 3, image_size, image_size, device="meta"))
    side: int = model.patch_embed.patch_size[0]
    return image_size // side


def _read_tokens(model: VisionTransformer) -> int:
    """How many of the first tokens heads read, with token pooling."""
    return 2 if hasattr(model, "head_dist") else 1


def _has_map(block: nn.Module) -> bool:
    attention = getattr(block, "attn", None)
    return hasattr(attention, "attn_drop") and hasattr(attention, "fused_attn")


def _check_grid(model: VisionTransformer, images: Tensor) -> None:
    embed = model.patch_embed
    if images.dim() != 4:
        raise InputError(f"relevance: images must be (B, 3, H, W), got shape {tuple(images.shape)}")
    side = tuple(images.shape[2:])
    free = not embed.strict_img_size
    fits = all(s % p == 0 for s, p in zip(side, embed.patch_size, strict=True)) if free else side == embed.img_size
    rows, cols = (s // p for s, p in zip(side, embed.patch_size, strict=True))
    if not fits or rows != cols:
        allowed = "squares of whole patches" if free else f"{embed.img_size[0]} x {embed.img_size[1]} pixels"
        grid = f"the teacher's patches are {embed.patch_size[0]} x {embed.patch_size[1]}"
        raise InputError(f"relevance: images must be {allowed} ({grid}), got {side[0]} x {side[1]}")
