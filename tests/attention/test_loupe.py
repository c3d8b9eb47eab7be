"""Loupe against its equations written out, and its controls."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoomexp.attention.loupe import Loupe
from zoomexp.errors import InputError


def features(height: int = 7, width: int = 5) -> Tensor:
    return torch.randn(2, 8, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def before_sigmoid(module: Loupe, x: Tensor) -> Tensor:
    """The two convolutions as sums over shifted copies of the zero-padded map."""
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    hidden = module.squeeze.bias[:, None, None] + sum(
        torch.einsum("oc,bchw->bohw", module.squeeze.weight[:, :, i, j], padded[:, :, i : i + height, j : j + width])
        for i in range(3)
        for j in range(3)
    )
    last = torch.einsum("oc,bchw->bohw", module.expand.weight[:, :, 0, 0], hidden.clamp(min=0))
    return last + module.expand.bias[:, None, None]


@pytest.mark.parametrize("reduction", [1, 4, 16])
def test_learned_mask(reduction: int) -> None:
    module, x = Loupe(8, reduction=reduction).double(), features()
    mask = 1 / (1 + torch.exp(-before_sigmoid(module, x)))
    torch.testing.assert_close(module(x), x * mask)
    torch.testing.assert_close(module.map, mask)


@pytest.mark.parametrize(
    ("channels", "reduction", "count"),
    [(256, 4, 147_585), (192, 4, 83_041), (256, 8, 73_793), (192, 8, 41_521), (256, 16, 36_897), (192, 16, 20_761)],
)
def test_parameter_count(channels: int, reduction: int, count: int) -> None:
    assert sum(p.numel() for p in Loupe(channels, reduction=reduction).parameters()) == count


def test_scalar_mask_is_one_number_per_image() -> None:
    module, x = Loupe(8, mask="scalar").double(), features()
    mean = torch.sigmoid(before_sigmoid(module, x)).mean((2, 3), keepdim=True)
    torch.testing.assert_close(module(x), x * mean)
    torch.testing.assert_close(module.map, mean.expand(2, 1, 7, 5))


def test_constant_mask_halves_and_has_no_parameters() -> None:
    module, x = Loupe(8, mask="constant"), features()
    torch.testing.assert_close(module(x), x / 2)
    torch.testing.assert_close(module.map, torch.full((2, 1, 7, 5), 0.5, dtype=x.dtype))
    assert not list(module.parameters())


def test_random_mask_depends_on_its_seed_alone() -> None:
    torch.manual_seed(0)
    module, x = Loupe(8, mask="random").double(), features(70, 5)
    torch.manual_seed(1)
    again, other = Loupe(8, mask="random").double(), Loupe(8, mask="random", seed=1).double()
    torch.testing.assert_close(module(x), x * module.map)
    assert module.map.shape == (2, 1, 70, 5)
    assert torch.equal(module.map[0], module.map[1])
    again(x)
    other(x)
    assert torch.equal(again.map, module.map)
    assert not torch.equal(other.map, module.map)
    assert ((module.map >= 0) & (module.map < 1)).all()
    assert module.map.mean().item() == pytest.approx(0.5, abs=0.05)
    assert not list(module.parameters())


def test_no_mask_is_a_residual_block() -> None:
    module, x = Loupe(8, mask="none").double(), features()
    torch.testing.assert_close(module(x), x + before_sigmoid(module, x))
    assert module.map is None


def test_bias_shifts_the_initial_bias() -> None:
    torch.manual_seed(0)
    plain = Loupe(8).expand.bias
    torch.manual_seed(0)
    torch.testing.assert_close(Loupe(8, bias=2.0).expand.bias, plain + 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "soft"}, "attention.mask='soft' must be one of learned, constant, random, scalar, none"),
        ({"reduction": 0}, "attention.reduction=0 must be a whole number, at least 1"),
        ({"bias": "high"}, "attention.bias='high' must be a finite number"),
        ({"bias": 1.0, "mask": "random"}, "attention.bias must be 0 with mask=random"),
        (
            {"reduction": 8, "mask": "random"},
            "attention.reduction must be 4 with mask=random, which has no hidden layer",
        ),
        ({"seed": 1}, "attention.seed must be 0 with mask=learned, which draws nothing, got 1"),
        ({"seed": -1}, "attention.seed=-1 must be a whole number, at least 0"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Loupe(8, **options)
