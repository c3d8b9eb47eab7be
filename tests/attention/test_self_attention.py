"""SelfAttention against softmax matrices written out."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoomexp.attention.self_attention import SelfAttention
from zoomexp.errors import InputError


def features() -> Tensor:
    return torch.randn(2, 8, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def written_out(module: SelfAttention, x: Tensor, scale: bool, softmax_axis: str) -> tuple[Tensor, Tensor]:
    """Y `(B, C, H, W)` and P `(B, N, N)`, by matrices of columns as in the paper."""
    flat = x.flatten(2)
    q, k, v = (
        layer.weight[:, :, 0, 0] @ flat + layer.bias[:, None] for layer in (module.query, module.key, module.value)
    )
    scores = q.transpose(1, 2) @ k / (8**0.5 if scale else 1)
    p = scores.exp() / scores.exp().sum(2, keepdim=True)
    y = v @ p.transpose(1, 2) if softmax_axis == "keys" else v @ p
    return y.view_as(x), p


@pytest.mark.parametrize(
    ("residual", "gamma", "scale", "softmax_axis", "keep_map"),
    list(itertools.product([True, False], ["learned", 1, 0.5], [False, True], ["keys", "queries"], [False, True])),
)
def test_every_variant(residual: bool, gamma: str | float, scale: bool, softmax_axis: str, keep_map: bool) -> None:
    module = SelfAttention(
        8, residual=residual, gamma=gamma, scale=scale, softmax_axis=softmax_axis, keep_map=keep_map
    ).double()
    if gamma == "learned":
        assert module.gamma.item() == (0 if residual else 1)
        torch.nn.init.constant_(module.gamma, 0.7)
    x = features()
    y, p = written_out(module, x, scale, softmax_axis)
    expected = {"learned": 0.7, 1: 1, 0.5: 0.5}[gamma] * y + (x if residual else 0)
    torch.testing.assert_close(module(x), expected)
    if keep_map:
        column = p.mean(1)
        torch.testing.assert_close(module.map, (column / column.amax(1, keepdim=True)).view(2, 1, 5, 3))
    else:
        assert module.map is None


@pytest.mark.parametrize("channels", [8, 320])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_fused_kernel_is_used(channels: int, layout: torch.memory_format) -> None:
    x = torch.randn(2, channels, 5, 3).contiguous(memory_format=layout).requires_grad_()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # any other way is an error
        SelfAttention(channels)(x).sum().backward()


def test_starts_as_the_identity() -> None:
    torch.testing.assert_close(SelfAttention(8).double()(features()), features(), rtol=0, atol=0)


def test_key_bias_cancels() -> None:
    module = SelfAttention(8, gamma=1).double()
    before = module(features())
    torch.nn.init.normal_(module.key.bias)
    torch.testing.assert_close(module(features()), before)


def test_three_blocks_add_16467_parameters() -> None:
    assert sum(p.numel() for c in (16, 32, 64) for p in SelfAttention(c).parameters()) == 16_467
    assert sum(p.numel() for c in (16, 32, 64) for p in SelfAttention(c, gamma=1).parameters()) == 16_464


def test_initialisation() -> None:
    torch.manual_seed(0)
    module = SelfAttention(256)
    for layer in (module.query, module.key, module.value):
        assert layer.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": "fixed"}, "attention.gamma must be learned or a number, got 'fixed'"),
        ({"gamma": float("inf")}, "attention.gamma=inf must be a finite number"),
        ({"softmax_axis": "rows"}, "attention.softmax_axis='rows' must be one of keys, queries"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SelfAttention(8, **options)
