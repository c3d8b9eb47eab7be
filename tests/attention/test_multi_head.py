"""MultiHead against torch.nn.MultiheadAttention with the weights copied over."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoomexp.attention.multi_head import MultiHead
from zoomexp.errors import InputError


def features() -> Tensor:
    return torch.randn(2, 16, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def torchs(module: MultiHead, heads: int, scale: bool) -> torch.nn.MultiheadAttention:
    reference = torch.nn.MultiheadAttention(16, heads, batch_first=True, dtype=torch.float64)
    parts = (module.query, module.key, module.value)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([layer.weight.flatten(1) for layer in parts]))
        reference.in_proj_bias.copy_(torch.cat([layer.bias for layer in parts]))
        reference.out_proj.weight.copy_(module.out.weight.flatten(1))
        reference.out_proj.bias.copy_(module.out.bias)
        if not scale:  # torch always divides by sqrt(d): multiply its queries by that
            reference.in_proj_weight[:16] *= (16 / heads) ** 0.5
            reference.in_proj_bias[:16] *= (16 / heads) ** 0.5
    return reference


@pytest.mark.parametrize(
    ("heads", "residual", "gamma", "scale", "keep_map"),
    list(itertools.product([1, 2, 4, 8], [True, False], ["learned", 1], [True, False], [False, True])),
)
def test_every_variant(heads: int, residual: bool, gamma: str | float, scale: bool, keep_map: bool) -> None:
    module = MultiHead(16, heads=heads, residual=residual, gamma=gamma, scale=scale, keep_map=keep_map).double()
    if gamma == "learned":
        assert module.gamma.item() == (0 if residual else 1)
        torch.nn.init.constant_(module.gamma, 0.7)
    x = features()
    tokens = x.flatten(2).transpose(1, 2)
    y, weights = torchs(module, heads, scale)(tokens, tokens, tokens, average_attn_weights=True)
    y = y.transpose(1, 2).view_as(x)
    torch.testing.assert_close(module(x), (0.7 if gamma == "learned" else 1) * y + (x if residual else 0))
    if keep_map:
        column = weights.mean(1)
        torch.testing.assert_close(module.map, (column / column.amax(1, keepdim=True)).view(2, 1, 5, 3))
    else:
        assert module.map is None


@pytest.mark.parametrize("channels", [16, 64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_fused_kernel_is_used(channels: int, layout: torch.memory_format) -> None:
    x = torch.randn(2, channels, 5, 3).contiguous(memory_format=layout).requires_grad_()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # any other way is an error
        MultiHead(channels)(x).sum().backward()


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-3), (torch.bfloat16, 2e-2)])  # fp32 may be TF32
def test_small_heads_need_no_matrix_on_cuda(dtype: torch.dtype, error: float) -> None:
    module = MultiHead(16, gamma=1).to("cuda", dtype)
    x = torch.randn(2, 16, 8, 8, device="cuda", dtype=dtype, requires_grad=True)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        y = module(x)
        y.sum().backward()
    expected = module.cpu().double()(x.detach().cpu().double())
    assert (y.detach().cpu().double() - expected).norm() < error * expected.norm()


def test_starts_as_the_identity() -> None:
    torch.testing.assert_close(MultiHead(16).double()(features()), features(), rtol=0, atol=0)


def test_three_blocks_add_21955_parameters() -> None:
    assert sum(p.numel() for c in (16, 32, 64) for p in MultiHead(c).parameters()) == 21_955


def test_initialisation() -> None:
    torch.manual_seed(0)
    module = MultiHead(256)
    for layer in (module.query, module.key, module.value, module.out):
        assert layer.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, r"attention.heads must divide the 16 channels \(1, 2, 4, 8, 16\), got 3"),
        ({"heads": 0}, "attention.heads=0 must be a whole number, at least 1"),
        ({"gamma": None}, "attention.gamma=None must be a finite number"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultiHead(16, **options)
