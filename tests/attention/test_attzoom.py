"""AttZoom against its equations written out: zeros put in, then an ordinary convolution."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zoomexp.attention.attzoom import AttZoom, convolve_interleaved, interleave
from zoomexp.errors import InputError


def zeros_put_in(x: Tensor, zoom: int) -> Tensor:
    batch, channels, height, width = x.shape
    enlarged = x.new_zeros(batch, channels, zoom * height, zoom * width)
    enlarged[:, :, ::zoom, ::zoom] = x
    return enlarged


def gate(module: AttZoom, x: Tensor) -> Tensor:
    s = torch.sigmoid(F.conv2d(x, module.attention.weight, module.attention.bias, padding="same"))
    m = s.clone()
    m[s >= module.threshold] = 1
    return m


def features(height: int = 7, width: int = 5) -> Tensor:
    return torch.randn(2, 6, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("keep_size", [False, True])
@pytest.mark.parametrize(("size", "zoom"), list(itertools.product([1, 3, 5, 7], [1, 2, 3, 4])))
def test_equals_interleaving_then_convolution(size: int, zoom: int, keep_size: bool) -> None:
    module = AttZoom(6, enhance_kernel_size=size, zoom=zoom, keep_size=keep_size).double()
    x = features().requires_grad_()
    stride = zoom if keep_size else 1
    enlarged = zeros_put_in(x * gate(module, x), zoom)
    plain = F.conv2d(enlarged, module.enhance.weight, module.enhance.bias, stride, padding=size // 2)
    y = module(x)
    torch.testing.assert_close(y, plain)
    torch.testing.assert_close(module.map, gate(module, x))
    inputs = (x, *module.parameters())
    direction = torch.randn_like(y)
    for ours, theirs in zip(
        torch.autograd.grad(y, inputs, direction), torch.autograd.grad(plain, inputs, direction), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_equals_torch_transposed_convolution_with_the_flipped_kernel() -> None:
    module = AttZoom(6).double()
    transposed = torch.nn.ConvTranspose2d(6, 6, 3, stride=2, padding=1, output_padding=1).double()
    with torch.no_grad():
        transposed.weight.copy_(module.enhance.weight.transpose(0, 1).flip(2, 3))
        transposed.bias.copy_(module.enhance.bias)
    x = features()
    torch.testing.assert_close(module(x), transposed(x * gate(module, x)))


@pytest.mark.parametrize("zoom", [1, 2, 3])
def test_interleave(zoom: int) -> None:
    torch.testing.assert_close(interleave(features(), zoom), zeros_put_in(features(), zoom), rtol=0, atol=0)
    kernel = torch.randn(6, 6, 3, 3, dtype=torch.float64)
    plain = F.conv2d(zeros_put_in(features(), zoom), kernel, padding=1)
    torch.testing.assert_close(convolve_interleaved(features(), kernel, None, zoom, keep_size=False), plain)


def test_37505_parameters_in_two_kernels_with_biases() -> None:
    module = AttZoom(64)
    assert sum(p.numel() for p in module.parameters()) == 37_505
    assert len(list(module.parameters())) == 4
    assert sum(p.numel() for p in AttZoom(64, kernel_size=1).parameters()) == 36_993


def test_keep_size_at_the_defaults_uses_the_centre_tap_alone() -> None:
    module = AttZoom(6, keep_size=True).double()
    module(features()).sum().backward()
    off_centre = torch.ones(3, 3, dtype=torch.bool)
    off_centre[1, 1] = False
    assert not module.enhance.weight.grad[:, :, off_centre].any()
    assert module.enhance.weight.grad[:, :, 1, 1].all()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_gates(threshold: float) -> None:
    x = features()
    soft = AttZoom(6, threshold=threshold).double()
    s = torch.sigmoid(soft.attention(x))
    above = s >= threshold
    others = {kind: AttZoom(6, threshold=threshold, gate=kind).double() for kind in ("sigmoid", "hard")}
    for module in (soft, *others.values()):
        module.load_state_dict(soft.state_dict())
        module(x)
    torch.testing.assert_close(soft.map, torch.where(above, 1.0, s))
    torch.testing.assert_close(others["sigmoid"].map, s)
    torch.testing.assert_close(others["hard"].map, above.double(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["threshold", "hard"])
def test_a_value_at_the_threshold_opens_the_gate(kind: str) -> None:
    module = AttZoom(6, threshold=0.5, gate=kind)
    torch.nn.init.zeros_(module.attention.bias)
    module(torch.zeros(1, 6, 3, 3))  # A = 0, so s = 0.5 exactly
    assert torch.equal(module.map, torch.ones(1, 1, 3, 3))


def test_gradient_is_cut_where_the_gate_is_open_and_straight_through_where_it_is_hard() -> None:
    x = features()
    gradients = {}
    for kind in ("threshold", "sigmoid", "hard"):
        torch.manual_seed(0)
        module = AttZoom(6, threshold=0.0, gate=kind).double()
        module(x)
        gradients[kind] = torch.autograd.grad(module.map.sum(), module.attention.weight)[0]
    assert not gradients["threshold"].any()
    assert gradients["sigmoid"].any()
    torch.testing.assert_close(gradients["hard"], gradients["sigmoid"])


def test_without_a_gate_it_is_a_plain_enlarging_convolution() -> None:
    module = AttZoom(6, gate="none").double()
    assert {name for name, _ in module.named_parameters()} == {"enhance.weight", "enhance.bias"}
    plain = F.conv2d(zeros_put_in(features(), 2), module.enhance.weight, module.enhance.bias, padding=1)
    torch.testing.assert_close(module(features()), plain)
    assert module.map is None


@pytest.mark.parametrize("keep_size", [False, True])
@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_dense_upsampling(upsample: str, keep_size: bool) -> None:
    module = AttZoom(6, upsample=upsample, keep_size=keep_size).double()
    x = features()
    dense = torch.nn.Upsample(scale_factor=2, mode=upsample)(x * gate(module, x))
    plain = F.conv2d(dense, module.enhance.weight, module.enhance.bias, 2 if keep_size else 1, padding=1)
    torch.testing.assert_close(module(x), plain)


@pytest.mark.parametrize("upsample", ["zeros", "bilinear", "nearest"])
def test_without_enhancement(upsample: str) -> None:
    module = AttZoom(6, upsample=upsample, enhance="none").double()
    gated = features() * gate(module, features())
    enlarged = zeros_put_in(gated, 2) if upsample == "zeros" else F.interpolate(gated, scale_factor=2, mode=upsample)
    torch.testing.assert_close(module(features()), enlarged)
    gate_only = AttZoom(6, upsample=upsample, enhance="none", zoom=1).double()
    torch.testing.assert_close(gate_only(features()), features() * gate(gate_only, features()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"zoom": 3},
        {"zoom": 1},
        {"enhance_kernel_size": 5},
        {"upsample": "nearest"},
        {"keep_size": True},
        {"keep_size": True, "enhance_kernel_size": 5},
    ],
)
def test_enhancement_starts_by_doubling_the_mean_square(options: dict) -> None:
    torch.manual_seed(0)  # He: what a ReLU halves, the kernel doubles
    module = AttZoom(128, gate="none", **options)
    x = torch.randn(4, 128, 24, 24)
    border = 6
    with torch.no_grad():
        y = module(x)[:, :, border:-border, border:-border]
    assert y.square().mean().item() == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"attention.threshold=1.5 must be a number in \[0, 1\]"),
        ({"threshold": float("nan")}, "attention.threshold"),
        ({"threshold": "high"}, "attention.threshold"),
        ({"gate": "soft"}, "attention.gate='soft' must be one of threshold, sigmoid, hard, none"),
        ({"upsample": "cubic"}, "attention.upsample='cubic' must be one of zeros, bilinear, nearest"),
        ({"enhance": "relu"}, "attention.enhance='relu' must be one of conv, none"),
        ({"kernel_size": 4}, "attention.kernel_size=4 must be an odd"),
        ({"enhance_kernel_size": 0}, "attention.enhance_kernel_size=0 must be an odd"),
        ({"zoom": 0}, "attention.zoom=0 must be a whole number, at least 1"),
        ({"zoom": 1.5}, "attention.zoom"),
        ({"keep_size": True, "enhance": "none"}, "attention.keep_size must be false with enhance=none"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        AttZoom(6, **options)
    assert "\n" not in str(error.value)
