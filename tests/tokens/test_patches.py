"""Cutting out and embedding single patches equals embedding whole images and selecting."""

import pytest
import torch
from timm.layers import PatchEmbed
from torch import nn
from torch.nn import functional as F

from zoomexp.tokens.patches import embed_patches, halved, patches_at, scattered


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "norm", "bias"), [(3, None, True), (1, nn.LayerNorm, True), (3, None, False)])
@pytest.mark.parametrize("enlarged", [False, True])
def test_select_then_embed_equals_embed_then_select(enlarged, channels, norm, bias, memory):
    torch.manual_seed(0)
    images = torch.randn(3, channels, 48, 48).contiguous(memory_format=memory)
    whole = images.repeat_interleave(2, 2).repeat_interleave(2, 3) if enlarged else images
    layer = PatchEmbed(len(whole[0, 0]), 8, channels, 20, norm_layer=norm, bias=bias).to(memory_format=memory)
    side = len(whole[0, 0]) // 8
    image, row, column = torch.randint(3, (40,)), torch.randint(side, (40,)), torch.randint(side, (40,))
    chosen = embed_patches(layer, patches_at(images, side, image, row, column))
    torch.testing.assert_close(chosen, layer(whole)[image, row * side + column], atol=1e-5, rtol=1e-5)
    chosen.square().sum().backward()
    ours = layer.proj.weight.grad.clone()
    layer.zero_grad()
    layer(whole)[image, row * side + column].square().sum().backward()
    torch.testing.assert_close(ours, layer.proj.weight.grad, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_half_size_is_bilinear_interpolation(memory):
    images = torch.randn(2, 3, 12, 20).contiguous(memory_format=memory)
    expected = F.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(halved(images), expected)


def test_tokens_go_to_their_rows_and_the_others_are_zero():
    a, b = torch.randn(2, 3, requires_grad=True), torch.randn(1, 3)
    values = scattered([(torch.tensor([4, 1]), a), (torch.tensor([0]), b)], 5)
    assert torch.equal(values[[4, 1, 0]], torch.cat([a, b]))
    assert torch.equal(values[[2, 3]], torch.zeros(2, 3))
    values.square().sum().backward()
    torch.testing.assert_close(a.grad, 2 * a)
