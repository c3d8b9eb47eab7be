"""LRP with the gradient-weighted rollout: the ZoomViT paper's teacher maps (eq. 2 to 4).

"Transformer Interpretability Beyond Attention Visualization" (Chefer et al. 2021, arXiv 2012.09838). The relevance that
starts as one-hot at the target class is walked back through the host's own modules by `rules`; at each block

    A_b = I + mean_heads((grad_A y_t . R_A)^+)

with R_A the relevance of its softmax map, and the map is the readout row of A_B ... A_2 A_1 (no row normalisation; the
ZoomViT paper prints the reverse order, the authors' code and this file have the last block leftmost).

Choices where the papers have no such host. LayerScale and q/k norms pass relevance on, as all norms do. Average pooling
is the `mean` rule, and the readout row is the mean over the patch tokens. A distilled model's two heads are joined by
the `add` rule, and read from both tokens alike.
"""

from typing import Protocol, cast

import torch
from timm.layers import Attention
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.relevance import rules
from zoomexp.relevance.gradient import logit_gradients, through_block
from zoomexp.relevance.host import check, check_rules, patch_map, readout, unread_tokens_skipped
from zoomexp.relevance.recorder import Recording, recorded, undisturbed


class PlainMlp(Protocol):
    """The layers of an MLP that there are rules for."""

    fc1: nn.Linear
    fc2: nn.Linear


class PlainBlock(Protocol):
    """The parts of a block that there are rules for, as `host.check_rules` lets them through."""

    norm1: nn.Module
    attn: Attention
    drop_path1: nn.Module
    norm2: nn.Module
    mlp: PlainMlp
    drop_path2: nn.Module


def lrp(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Maps of the gradient-weighted relevance of attention.

    Args:
        model: A timm `VisionTransformer`; as it was afterwards.
        images: (B, 3, H, W), normalised as the model wants them.
        targets: (B,) int64, the class that each map explains.

    Returns:
        (B, S, S), at least 0, not normalised, in single precision also under autocast.

    Raises:
        InputError: See `host.check` and `host.check_rules`.
    """
    host = check(model, images, targets)
    check_rules(host)
    attentions, inputs, outputs = _watched(host)
    with undisturbed(host), unread_tokens_skipped(host), recorded(attentions, inputs, outputs) as recording:
        gradients = logit_gradients(host, images, targets, recording)
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        relevance = _through_head(host, recording, targets)
        row = readout(host, gradients[0])
        for index, block in reversed(list(enumerate(_blocks(host)))):
            of_attention, relevance = _through_block(block, recording, relevance, to_input=index > 0)
            row = through_block(row, gradients.pop(), of_attention)
    return patch_map(host, row)


def _blocks(model: VisionTransformer) -> list[PlainBlock]:
    return cast(list[PlainBlock], list(model.blocks))


def _watched(model: VisionTransformer) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
    """Attention modules, modules whose input the rules need, modules whose output they need."""
    blocks = _blocks(model)
    linears = [layer for b in blocks for layer in (b.attn.qkv, b.attn.proj, b.mlp.fc1, b.mlp.fc2)]
    norms = [norm for b in blocks for norm in (b.norm1, b.norm2)]
    others = [m for b in blocks for m in (b.attn.q_norm, b.attn.k_norm, b.drop_path1, b.drop_path2)]
    return [b.attn for b in blocks], [*linears, *norms, *_heads(model)], [*linears, *others, *_heads(model), model.norm]


def _heads(model: VisionTransformer) -> list[nn.Linear]:
    heads = [model.head, model.head_dist] if hasattr(model, "head_dist") else [model.head]
    return cast(list[nn.Linear], heads)


def _through_head(model: VisionTransformer, recording: Recording, targets: Tensor) -> Tensor:
    """Start with 1 at each sample's target class; return the relevance of the last block's tokens (B, N, D)."""
    heads, tokens = _heads(model), recording.output(model.norm)
    start = nn.functional.one_hot(targets.to(tokens.device), model.num_classes).to(tokens.dtype)
    parts = rules.add(start, *(recording.output(head) for head in heads)) if len(heads) == 2 else (start,)
    pooled = [_linear(head, recording, part) for head, part in zip(heads, parts, strict=True)]
    relevance = torch.zeros_like(tokens)
    if model.global_pool == "avg":
        first = 0 if model.pool_include_prefix else model.num_prefix_tokens
        relevance[:, first:] = rules.mean(pooled[0], tokens[:, first:])
    else:
        relevance[:, : len(pooled)] = torch.stack(pooled, 1)
    return relevance


def _through_block(block: PlainBlock, recording: Recording, relevance: Tensor, to_input: bool) -> tuple[Tensor, Tensor]:
    """Relevance of the block's output (B, N, D) to that of its softmax map (B, h, N, N) and of its input.

    Without `to_input` the latter is not computed, and nothing is.
    """
    middle = recording.input(block.norm2)
    direct, branch = rules.add(relevance, middle, recording.output(block.drop_path2))
    branch = _linear(block.mlp.fc1, recording, _linear(block.mlp.fc2, recording, branch))
    relevance = rules.clone(direct, _all_tokens(branch, direct))
    direct, branch = rules.add(relevance, recording.input(block.norm1), recording.output(block.drop_path1))
    of_attention, of_input = _through_attention(block.attn, recording, branch, to_input)
    return of_attention, direct if of_input is None else rules.clone(direct, of_input)


def _through_attention(
    attn: Attention, recording: Recording, relevance: Tensor, to_input: bool
) -> tuple[Tensor, Tensor | None]:
    """Relevance of the output (B, N, D) to that of the softmax map (B, h, N, N) and of the input (B, N, D)."""
    heads = (-1, attn.num_heads, attn.head_dim)
    relevance = _all_tokens(_linear(attn.proj, recording, relevance), relevance)
    relevance = relevance.unflatten(2, heads[1:]).transpose(1, 2)
    value = recording.output(attn.qkv).unflatten(2, heads)[:, :, 2].transpose(1, 2)
    weights = recording.attention(attn)
    of_attention, of_value = rules.matmul(relevance, weights, value)
    if not to_input:
        return of_attention, None
    query, key = recording.output(attn.q_norm), recording.output(attn.k_norm)
    of_query, of_key = rules.matmul(of_attention, query, key.mT)
    parts = torch.stack([of_query, of_key.mT, of_value], 2)  # (B, h, 3, N, D / h), as qkv has them, transposed
    return of_attention, _linear(attn.qkv, recording, parts.permute(0, 3, 2, 1, 4).flatten(2))


def _linear(layer: nn.Linear, recording: Recording, relevance: Tensor) -> Tensor:
    x, product = recording.input(layer), recording.product(layer)
    if x.dim() == 3:  # in the last block `unread_tokens_skipped` leaves fewer tokens, the others have no relevance
        relevance = relevance[:, : x.shape[1]]
        product = product if product is None else product[:, : x.shape[1]]
    return rules.linear(relevance, x, layer.weight.detach().to(x.dtype), product)


def _all_tokens(relevance: Tensor, like: Tensor) -> Tensor:
    """Append tokens without relevance up to the number that `like` (B, N, D) has."""
    return nn.functional.pad(relevance, (0, 0, 0, like.shape[1] - relevance.shape[1]))
