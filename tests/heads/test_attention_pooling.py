"""Pooling by maps: of maps of ones, of gradients, of half precision."""

import torch
from torch.nn import functional as F

from zoomexp.heads.attention_pooling import AttentionPooling, pooled

FEATURES = torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(0))


def test_maps_of_ones_average():
    """The root of averages with their signs, once for each map, and of length 1."""
    means = F.adaptive_avg_pool2d(FEATURES, 1).flatten(1).repeat(1, 4)
    expected = F.normalize(means.sign() * (means.abs() + 1e-6).sqrt(), dim=1)
    found = pooled(FEATURES, torch.ones(2, 4, 3, 5))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


def test_maps_of_zeros_have_finite_gradients():
    maps = torch.zeros(2, 4, 3, 5, requires_grad=True)
    features = FEATURES.clone().requires_grad_()
    head = AttentionPooling(6, 4, 3)
    head(pooled(features, maps)).sum().backward()
    assert maps.grad.isfinite().all() and features.grad.isfinite().all()


def test_half_precision_is_left_for_the_root():
    maps = torch.rand(2, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pooled(FEATURES.bfloat16(), maps.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pooled(FEATURES.bfloat16().float(), maps.bfloat16().float()))
