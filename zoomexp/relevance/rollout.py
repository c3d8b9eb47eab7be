"""Maps from attention alone, the plain controls: they do not know the class, so their `targets` are not used.

"Quantifying Attention Flow in Transformers" (Abnar and Zuidema 2020, arXiv 2005.00928): rollout multiplies the blocks'
(A + I) / 2, A averaged over heads, last block leftmost; every row of the product sums to one.
"""

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.errors import InputError
from zoomexp.relevance.host import attentions, check, patch_map, readout
from zoomexp.relevance.recorder import recorded, undisturbed


def rollout(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Maps of attention rollout.

    Args:
        model: A timm `VisionTransformer`; as it was afterwards.
        images: (B, 3, H, W), normalised as the model wants them.
        targets: (B,) int64; checked, not used.

    Returns:
        (B, S, S), at least 0, not normalised.

    Raises:
        InputError: See `host.check`.
    """
    host, matrices = _attentions(model, images, targets)
    row = readout(host, matrices[0])
    for matrix in reversed(matrices):
        row = (row + _row_through(row, matrix)) / 2
    return patch_map(host, row)


def attention(model: nn.Module, images: Tensor, targets: Tensor, blocks: str = "last") -> Tensor:
    """Maps of what the readout (class token or mean of patches) attends to, averaged over heads.

    Args:
        model: A timm `VisionTransformer`; as it was afterwards.
        images: (B, 3, H, W), normalised as the model wants them.
        targets: (B,) int64; checked, not used.
        blocks: "last", the last block alone, or "mean", the mean over blocks.

    Returns:
        (B, S, S), at least 0, not normalised.

    Raises:
        InputError: Unknown `blocks`; see `host.check`.
    """
    if blocks not in ("last", "mean"):
        raise InputError(f"relevance.blocks must be last or mean, got {blocks!r}")
    host, matrices = _attentions(model, images, targets)
    row = readout(host, matrices[0])
    chosen = matrices[-1:] if blocks == "last" else matrices
    return patch_map(host, torch.stack([_row_through(row, matrix) for matrix in chosen]).mean(0))


def _row_through(row: Tensor, matrix: Tensor) -> Tensor:
    """A row (B, N) times the head mean of (B, h, N, N), in full precision also under autocast."""
    with torch.autocast(row.device.type, enabled=False):
        return (row[:, None] @ matrix.mean(1))[:, 0]


def _attentions(model: nn.Module, images: Tensor, targets: Tensor) -> tuple[VisionTransformer, list[Tensor]]:
    """The model, checked, and the attention matrices (B, h, N, N) of one forward, by block."""
    host = check(model, images, targets)
    layers = attentions(host)
    with undisturbed(host), torch.no_grad(), recorded(layers) as recording:
        host(images)
    return host, [recording.attention(layer) for layer in layers]
