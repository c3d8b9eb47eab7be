"""A map shows its own class: on an image with an object of each of two classes, each map prefers its own."""

import pytest
import torch
from timm.models import VisionTransformer

from zoomexp.relevance.gradient import grad_attn
from zoomexp.relevance.lrp import lrp

PATCH, GRID = 4, 4
ROW, COL = torch.arange(PATCH)[:, None].expand(PATCH, PATCH), torch.arange(PATCH).expand(PATCH, PATCH)
PATTERNS = [COL % 2, ROW % 2, (ROW + COL) % 2, (ROW + COL) % 4 // 2, COL // 2, ROW // 2]
KINDS = 2.0 * torch.stack(PATTERNS) - 1


def with_object(images, kinds, cells):
    """Put the object of each kind, a pattern of one patch, into a cell of each image."""
    for image, kind, cell in zip(images, kinds, cells, strict=True):
        row, col = PATCH * (cell // GRID), PATCH * (cell % GRID)
        image[0, row : row + PATCH, col : col + PATCH] = KINDS[kind]
    return images


@pytest.fixture(scope="module")
def detector():
    """A transformer that tells the kinds by construction: nothing is trained, and no rounding decides what it learns.

    Feature k of a patch is its product with pattern k, the class token collects the features by uniform attention, and
    logit k is feature k. Two opposite features, large in every patch, keep layer norms from blowing up the noise.
    """
    torch.manual_seed(0)
    size = {"img_size": PATCH * GRID, "patch_size": PATCH, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = VisionTransformer(in_chans=1, num_classes=len(KINDS), **size).eval()
    embed, head = model.patch_embed.proj, model.head
    with torch.no_grad():
        for zero in (model.cls_token, model.pos_embed, embed.weight, embed.bias, head.weight, head.bias):
            zero.zero_()
        embed.weight[: len(KINDS), 0] = KINDS / 4
        embed.bias[6], embed.bias[7] = 3.0, -3.0
        head.weight[:, : len(KINDS)] = torch.eye(len(KINDS))
        for block in model.blocks:
            block.attn.qkv.weight[:64], block.attn.qkv.weight[64:] = 0.0, torch.eye(32)
            block.attn.proj.weight[:] = torch.eye(32)
            block.mlp.fc2.weight *= 0.01
    return model


@pytest.mark.parametrize("method", [lrp, grad_attn])
def test_each_class_is_found_at_its_own_object(detector, method):
    generator = torch.Generator().manual_seed(1)
    places = torch.stack([torch.randperm(GRID**2, generator=generator)[:2] for _ in range(40)])
    images = 0.1 * torch.randn(40, 1, 16, 16, generator=generator)
    for kind in (0, 1):
        images = with_object(images, torch.full((40,), kind), places[:, kind])
    maps = [method(detector, images, torch.full((40,), kind)).flatten(1) for kind in (0, 1)]
    share = [one / one.sum(1, keepdim=True) for one in maps]
    for kind in (0, 1):
        at_own = share[kind].gather(1, places[:, kind, None])[:, 0]
        of_other = share[1 - kind].gather(1, places[:, kind, None])[:, 0]
        assert (at_own > of_other + 0.5).all()  # 0.90 at least
