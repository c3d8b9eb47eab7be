"""CBAM against timm's gates with the weights copied over, and against its equations written out."""

import pytest
import torch
from timm.layers.cbam import ChannelAttn
from torch import Tensor
from torch.nn import functional as F

from zoomexp.attention.cbam import CBAM
from zoomexp.errors import InputError


def features() -> Tensor:
    return torch.randn(2, 16, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def spatial_gate(module: CBAM, x: Tensor) -> Tensor:
    """M_s, written out. timm's has a batch norm in the place of the bias, so it is no reference."""
    pooled = torch.stack([x.max(dim=1).values, x.sum(dim=1) / x.shape[1]], dim=1)
    a = F.conv2d(pooled, module.spatial.weight, module.spatial.bias, padding="same")
    return 1 / (1 + torch.exp(-a))


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("reduction", [1, 4, 8, 16, 32])
def test_every_variant(reduction: int, kernel_size: int, residual: bool) -> None:
    module = CBAM(16, reduction=reduction, kernel_size=kernel_size, residual=residual).double()
    timms = ChannelAttn(16, rd_channels=max(1, 16 // reduction)).double()
    with torch.no_grad():
        timms.fc1.weight.copy_(module.squeeze.weight[:, :, None, None])
        timms.fc2.weight.copy_(module.expand.weight[:, :, None, None])
    x = features()
    gated = timms(x)
    gate = spatial_gate(module, gated)
    torch.testing.assert_close(module(x), gated * gate + (x if residual else 0))
    torch.testing.assert_close(module.map, gate)


def test_channel_gate_written_out() -> None:
    module, x = CBAM(16, residual=False).double(), features()
    pooled = (x.flatten(2).max(dim=2).values, x.sum((2, 3)) / 35)
    scores = sum((v @ module.squeeze.weight.T).clamp(min=0) @ module.expand.weight.T for v in pooled)
    gated = x / (1 + torch.exp(-scores))[:, :, None, None]
    torch.testing.assert_close(module(x), gated * spatial_gate(module, gated))


@pytest.mark.parametrize(("reduction", "count"), [(16, 969), (8, 1_641), (4, 2_985)])
def test_parameters_of_three_blocks(reduction: int, count: int) -> None:
    assert sum(p.numel() for c in (16, 32, 64) for p in CBAM(c, reduction=reduction).parameters()) == count


def test_hidden_width_is_at_least_one() -> None:
    assert CBAM(16, reduction=32).squeeze.out_features == 1


def test_initialisation() -> None:
    torch.manual_seed(0)
    module = CBAM(1024, reduction=1)
    assert module.squeeze.weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.02)
    assert module.expand.weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.02)
    assert module.spatial.weight.std().item() == pytest.approx((2 / 49) ** 0.5, rel=0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": 0}, "attention.reduction=0 must be a whole number, at least 1"),
        ({"kernel_size": 6}, "attention.kernel_size=6 must be an odd whole number, at least 1"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CBAM(16, **options)
