"""Gradient checkpointing by option: the same logits and gradients, blocks computed again in the backward pass."""

import pytest
import torch

from zoomexp.backbones.from_timm import from_timm
from zoomexp.errors import InputError

SMALL = {"image_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}


def trained_once(checkpointing: bool) -> tuple[list[torch.Tensor], int]:
    """Logits and gradients of a training step, and how often the first block was computed."""
    torch.manual_seed(0)
    net = from_timm("vit_tiny_patch16_224", checkpointing=checkpointing, in_chans=3, **SMALL).train()
    calls = []
    net.blocks[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    logits = net(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    logits.square().sum().backward()
    return [logits.detach(), *(parameter.grad for parameter in net.parameters())], len(calls)


def test_checkpointing_computes_again_and_changes_nothing():
    (kept, once), (recomputed, twice) = trained_once(False), trained_once(True)
    assert (once, twice) == (1, 2)
    for one, other in zip(kept, recomputed, strict=True):
        torch.testing.assert_close(one, other)


def test_what_timm_cannot_do_is_refused():
    with pytest.raises(InputError, match=r"^backbone\.checkpointing=true: timm cannot do so with dla34;"):
        from_timm("dla34", checkpointing=True, num_classes=2, in_chans=3)
