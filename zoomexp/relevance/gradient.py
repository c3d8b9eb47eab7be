"""Gradient times attention, without relevance propagation: the light teacher.

"Generic Attention-model Explainability" (Chefer et al. 2021, arXiv 2103.15679), its rule for self-attention. With
y_t the logit of the target class, per block A_b = I + mean_heads((grad_A y_t . A)^+), and the map is the readout row of
A_B ... A_2 A_1. Only that row is ever computed: a chain of vector-matrix products.
"""

import torch
from torch import Tensor, nn

from zoomexp.relevance.host import attentions, check, patch_map, readout, unread_tokens_skipped
from zoomexp.relevance.recorder import Recording, recorded, undisturbed


def grad_attn(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Maps of the positive part of gradient times attention.

    Args:
        model: A timm `VisionTransformer`; as it was afterwards.
        images: (B, 3, H, W), normalised as the model wants them.
        targets: (B,) int64, the class that each map explains.

    Returns:
        (B, S, S), at least 0, not normalised, in single precision also under autocast.

    Raises:
        InputError: See `host.check`.
    """
    host = check(model, images, targets)
    layers = attentions(host)
    with undisturbed(host), unread_tokens_skipped(host), recorded(layers) as recording:
        gradients = logit_gradients(host, images, targets, recording)
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        row = readout(host, gradients[0])
        for layer, gradient in reversed(list(zip(layers, gradients, strict=True))):
            row = through_block(row, gradient, recording.attention(layer))
    return patch_map(host, row)


def logit_gradients(model: nn.Module, images: Tensor, targets: Tensor, recording: Recording) -> list[Tensor]:
    """Run the model under `recording` and differentiate each image's own logit by every block's attention."""
    with torch.inference_mode(False), torch.enable_grad():
        logits = model(images)
        wanted = logits.gather(1, targets.to(logits.device)[:, None]).sum()
        gradients = torch.autograd.grad(wanted, list(recording.attentions.values()))
    return [gradient.to(torch.promote_types(gradient.dtype, torch.float32)) for gradient in gradients]


def through_block(row: Tensor, gradient: Tensor, relevance: Tensor) -> Tensor:
    """The row times I + mean_heads((gradient . relevance)^+).

    Args:
        row: (B, N).
        gradient: (B, h, N, N); overwritten.
        relevance: (B, h, N, N).

    Returns:
        (B, N).
    """
    matrix = gradient.mul_(relevance).relu_().mean(1)
    return row + (row[:, None] @ matrix)[:, 0]
