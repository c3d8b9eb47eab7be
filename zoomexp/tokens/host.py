"""A timm `VisionTransformer` run over ragged tokens. The only file of tokens/ that touches a ViT's inside.

Norms, projections and MLPs run on the concatenated tokens of a batch, attention inside each image only, all by the
host's own sub-modules. Nothing depends on an image's batch mates, and equal lengths give what the plain forward gives:

    x = norm_pre(pos_drop(tokens))                               tokens: prefix and patches, positions added
    q, k, v = qkv(norm1(x))                                      in every block; q and k normed where the host does
    x = x + drop_path1(ls1(proj(norm(attend(q, k, v)))))
    x = x + drop_path2(ls2(mlp(norm2(x))))
    logits = head(head_drop(fc_norm(pool(norm(x)))))

Stochastic depth drops a branch for an image as a whole, with the same draws as the plain forward.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from timm.layers import Attention, GluMlp, Mlp, PatchEmbed, SwiGLU, resample_abs_pos_embed
from timm.models import VisionTransformer
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoomexp import protocols
from zoomexp.errors import InputError
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.ragged_attention import attend
from zoomexp.tokens.reduction import Context, Reducer
from zoomexp.tokens.regions import region
from zoomexp.tokens.resampling import resampled

Gives = TypeVar("Gives")

MODES = ("ragged", "padded", "paper")
POOLS = ("token", "avg")
TOKENWISE = (Mlp, GluMlp, SwiGLU)


def check_host(model: nn.Module) -> None:
    """Refuse what cannot be run on ragged tokens.

    Raises:
        InputError: another backbone than timm's `VisionTransformer`; blocks, attention, MLPs or patch embedding of
            another kind than DeiT's; pooling other than token and avg; patch dropout; inserted modules.
    """
    if not isinstance(model, VisionTransformer):
        allowed = "a VisionTransformer of timm (deit, deit3, vit)"
        raise InputError(f"tokens: the backbone must be {allowed}, got {type(model).__name__}")
    parts = [part for block in model.blocks for part in (block, *_parts(block))]
    kinds = (PatchEmbed, Block, Attention, *TOKENWISE)
    foreign = {type(part).__name__ for part in parts if type(part) not in kinds}
    if not isinstance(model.patch_embed, PatchEmbed):
        foreign.add(type(model.patch_embed).__name__)
    if foreign:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise InputError(
            f"backbone: patch embedding and blocks must be made of {names}, got {', '.join(sorted(foreign))}"
        )
    if any(getattr(block.attn, "gate", None) is not None for block in model.blocks):
        raise InputError("backbone: attention must be plain, got gated attention")
    if model.global_pool not in POOLS:
        raise InputError(f"backbone.global_pool must be one of {', '.join(POOLS)}, got {model.global_pool!r}")
    if not isinstance(model.patch_drop, nn.Identity):
        raise InputError(f"backbone.patch_drop_rate must be 0, got {model.patch_drop.prob}")
    if protocols.inserted(model):
        raise InputError("tokens: modules are inserted, which need a full grid of patches; take attention=none")


def encode(model: VisionTransformer, tokens: Ragged, *, mode: str = "ragged", reduce: Reducer | None = None) -> Ragged:
    """Run the blocks, and the norms before and after them.

    Args:
        model: the host.
        tokens: values (T, D) with each image's prefix tokens in front, positions added.
        mode: "ragged"; "padded": filled up to the longest of the batch, the filling masked (the same result, slower);
            "paper": filled up with zeros that are not masked, as ZoomViT's released code does, so that the result
            depends on the other images of the batch.
        reduce: a token-reduction method, with mode "ragged" only; see `zoomexp.tokens.reduction`.

    Returns:
        The tokens after the last block, of the same lengths unless reduced.

    Raises:
        InputError: a host that cannot be run, tokens of another width, an unknown mode, or `reduce` in another mode.
    """
    check_host(model)
    if mode not in MODES:
        raise InputError(f"host: mode must be one of {', '.join(MODES)}, got {mode!r}")
    if reduce is not None and mode != "ragged":
        raise InputError(f"host: reduce needs mode ragged, got {mode}")
    if tokens.values.shape[1:] != (model.embed_dim,):
        raise InputError(f"host: tokens must be (T, {model.embed_dim}), got {tuple(tokens.values.shape)}")
    tokens = tokens.with_values(model.norm_pre(model.pos_drop(tokens.values)))
    if mode != "ragged" or (reduce is None and tokens.equal):
        tokens = _run_padded(model, tokens, masked=mode != "paper")
    else:
        tokens = _run_ragged(model, tokens, reduce)
    return tokens.with_values(model.norm(tokens.values))


def read_out(model: VisionTransformer, tokens: Ragged, *, sizes: Tensor | None = None) -> Tensor:
    """Logits (B, K) from encoded tokens, by the host's own head (two of them in distilled training, as the host does).

    Args:
        model: the host.
        tokens: as `encode` gives them back.
        sizes: (T,) weight of each token where the host averages over tokens; None: the same for all.

    Raises:
        InputError: an image that has lost prefix tokens, or has no patch token where the host averages over patches.
    """
    check_host(model)
    mean_of_patches = model.global_pool == "avg" and not model.pool_include_prefix
    reads_patches = protocols.reads_patches(model)
    needed = model.num_prefix_tokens + (mean_of_patches or reads_patches)
    if tokens.longest is None and min(tokens.sizes) < needed:
        raise InputError(f"host: the head reads at least {needed} tokens of each image, got lengths {tokens.sizes}")
    if reads_patches:
        return model.forward_head(_filled(tokens))
    if model.global_pool == "token":
        return model.forward_head(first_tokens(tokens, needed))
    skipped = model.num_prefix_tokens if mean_of_patches else 0
    mean = _mean(tokens, skipped, sizes)[:, None]
    # The head's own pooling averages over what follows the prefix: here over the mean alone.
    return model.forward_head(torch.cat([mean] * (skipped + 1), 1))


def embed(model: VisionTransformer, images: Tensor) -> Tensor:
    """The host's patch embedding (B, rows x columns, D) of images (B, C, H, W), without positions.

    Raises:
        InputError: images of other channels, or whose sides are no multiples of the patch.
    """
    embedding = model.patch_embed
    channels, (height, width) = embedding.proj.in_channels, embedding.patch_size
    if images.dim() != 4 or images.shape[1] != channels or images.shape[2] % height or images.shape[3] % width:
        wanted = f"(B, {channels}, H, W) of whole patches of {height} x {width} pixels"
        raise InputError(f"host: images must be {wanted}, got {tuple(images.shape)}")
    patches: Tensor = embedding.norm(embedding.proj(images).flatten(2).transpose(1, 2))
    return patches


def prefix(model: VisionTransformer, batch: int) -> Tensor:
    """The tokens before the patches (B, P, D): class, distillation, registers, with positions where the host adds them.

    P is 0 for a host that has none.
    """
    learned = (model.cls_token, getattr(model, "dist_token", None), model.reg_token)
    tokens = [token for token in learned if token is not None]
    if not tokens:
        none: Tensor = model.patch_embed.proj.weight.new_zeros(batch, 0, model.embed_dim)
        return none
    x = torch.cat(tokens, 1)
    if model.pos_embed is not None and not model.no_embed_class:
        x = x + model.pos_embed[:, : x.shape[1]]
    return x.expand(batch, -1, -1)


def whole(model: VisionTransformer, images: Tensor) -> Ragged:
    """The tokens that the plain host has of images (B, C, H, W), prefix first, positions added; any grid of patches."""
    height, width = model.patch_embed.patch_size
    grid = (images.shape[2] // height, images.shape[3] // width)
    patches = embed(model, images) + patch_positions(model, grid)
    return Ragged.from_dense(torch.cat([prefix(model, len(images)), patches], 1))


def patch_positions(model: VisionTransformer, grid: int | tuple[int, int]) -> Tensor:
    """The host's learned positions (rows x columns, D), resampled to a grid as timm does; 0 if it has none.

    Args:
        model: the host; see `protocols.ResamplesPlainly`.
        grid: rows and columns, or one number for both.

    Raises:
        InputError: a side below 1.
    """
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    if min(rows, columns) < 1:
        raise InputError(f"host: side must be at least 1, got {min(rows, columns)}")
    if model.pos_embed is None:
        none: Tensor = model.patch_embed.proj.weight.new_zeros(rows * columns, model.embed_dim)
        return none
    patches = model.pos_embed[:, 0 if model.no_embed_class else model.num_prefix_tokens :]
    old = model.patch_embed.grid_size
    if protocols.resamples_plainly(model):
        return resampled(patches, tuple(old), (rows, columns))[0]
    resized: Tensor = resample_abs_pos_embed(patches, [rows, columns], list(old), num_prefix_tokens=0)[0]
    return resized


def first_tokens(tokens: Ragged, count: int) -> Tensor:
    """The first `count` tokens of each image, (B, count, D); of a shorter one, as dummies of `slots` may be, any."""
    rows = tokens.offsets()[:-1, None] + torch.arange(count, device=tokens.values.device)
    return tokens.values[rows.clamp(max=len(tokens.values) - 1)]


def _run_padded(model: VisionTransformer, tokens: Ragged, masked: bool) -> Ragged:
    """The blocks' own forward on (B, Nmax, D)."""
    x, keep = tokens.padded()
    mask = None
    if masked and not tokens.equal:  # additive: older timm adds a mask of booleans where attention is not fused
        mask = torch.zeros_like(keep, dtype=x.dtype).masked_fill(~keep, -torch.inf)[:, None, None]
    for block in model.blocks:
        x = _maybe_checkpointed(model, _whole, block, x, mask)
    return tokens.with_values(x.flatten(0, 1) if tokens.equal else Ragged.from_padded(x, tokens.lengths).values)


def _run_ragged(model: VisionTransformer, tokens: Ragged, reduce: Reducer | None) -> Ragged:
    for i, block in enumerate(model.blocks):
        if reduce is not None:
            tokens = reduce.before(i, tokens)
        log_sizes = None if reduce is None else reduce.log_sizes
        values, q, k, v = _maybe_checkpointed(model, _attention, block, tokens, tokens.values, log_sizes)
        tokens = tokens.with_values(values)
        if reduce is not None:
            tokens = reduce.between(i, tokens, Context(q, k, v, tokens, log_sizes, model.has_class_token))
        tokens = tokens.with_values(_maybe_checkpointed(model, _mlp, block, tokens, tokens.values))
    finish = getattr(reduce, "finish", None)
    return tokens if finish is None else finish(tokens)


def _maybe_checkpointed(model: VisionTransformer, function: Callable[..., Gives], *args: object) -> Gives:
    if not model.grad_checkpointing:
        return function(*args)
    given: Gives = checkpoint(function, *args, use_reentrant=False)
    return given


def _attention(
    block: Block, layout: Ragged, x: Tensor, log_sizes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first half of a block on x (T, D), and its queries, keys and values (T, h, d)."""
    q, k, v = _projected(block, x)
    attn: Any = block.attn
    dropout = attn.attn_drop.p if attn.training else 0.0
    mixed = attend(q, k, v, layout, log_sizes=log_sizes, dropout=dropout)
    return _after_attention(block, layout, x, mixed), q, k, v


@region
def _whole(block: Block, x: Tensor, mask: Tensor | None) -> Tensor:
    """The block's own forward on x (B, N, D)."""
    out: Tensor = block(x, attn_mask=mask)
    return out


@region
def _projected(block: Block, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (T, h, d)."""
    attn: Any = block.attn
    q, k, v = attn.qkv(block.norm1(x)).unflatten(1, (3, attn.num_heads, attn.head_dim)).unbind(1)
    return attn.q_norm(q), attn.k_norm(k), v


@region
def _after_attention(block: Block, layout: Ragged, x: Tensor, mixed: Tensor) -> Tensor:
    """Tokens x (T, D) with what attention gave them, (T, h, d)."""
    attn: Any = block.attn
    branch = block.ls1(attn.proj_drop(attn.proj(attn.norm(mixed.flatten(1)))))
    return x + _drop_path(block.drop_path1, branch, layout)


@region
def _mlp(block: Block, layout: Ragged, x: Tensor) -> Tensor:
    """The second half of a block on x (T, D)."""
    return x + _drop_path(block.drop_path2, block.ls2(block.mlp(block.norm2(x))), layout)


def _drop_path(drop_path: nn.Module, branch: Tensor, layout: Ragged) -> Tensor:
    """Stochastic depth with one draw per image."""
    if isinstance(drop_path, nn.Identity) or not drop_path.training:
        return branch
    factors: Tensor = drop_path(branch.new_ones(len(layout.lengths), 1))
    return branch * factors.index_select(0, layout.owner())


def _filled(tokens: Ragged) -> Tensor:
    """(B, Nmax, D): shorter sequences filled up with their own last token, which changes no maximum."""
    last = tokens.offsets()[1:, None] - 1
    rows = tokens.offsets()[:-1, None] + torch.arange(tokens.bound, device=tokens.values.device)
    return tokens.values[torch.minimum(rows, last)]


def _mean(tokens: Ragged, skipped: int, sizes: Tensor | None) -> Tensor:
    """Each image's mean (B, D) over its tokens but the first `skipped`, summed in at least single precision."""
    x, owner = tokens.values, tokens.owner()
    precision = torch.promote_types(x.dtype, torch.float32)
    places = torch.arange(len(x), device=x.device) - tokens.offsets()[owner]
    weights = (places >= skipped).to(precision) * (1 if sizes is None else sizes)
    totals = weights.new_zeros(len(tokens.lengths)).index_add(0, owner, weights)
    x = x * (weights / totals[owner])[:, None]
    return x.new_zeros(len(totals), x.shape[1]).index_add(0, owner, x).to(tokens.values.dtype)


def _parts(block: nn.Module) -> tuple[nn.Module, nn.Module]:
    return getattr(block, "attn", block), getattr(block, "mlp", block)
