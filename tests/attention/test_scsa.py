"""SCSA against its equations, one image, one channel group and one position at a time."""

import pytest
import torch
from torch import Tensor

from tests.tokens.hosts import randomised
from zoomexp.attention.scsa import SCSA
from zoomexp.errors import InputError


def features(height: int, width: int) -> Tensor:
    return torch.randn(2, 16, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def written_out(module: SCSA, x: Tensor, window: int, heads: int) -> tuple[Tensor, Tensor]:
    """Output and gates (B, C, H, W)."""
    gates = torch.stack([image_gates(module, image) for image in x])
    gated = x * gates
    return torch.stack([gated[i] * channel_gate(module, gated[i], window, heads) for i in range(len(x))]), gates


def image_gates(module: SCSA, image: Tensor) -> Tensor:
    lines = [line_gates(module, image.mean(axis), norm) for axis, norm in ((2, module.norm_h), (1, module.norm_w))]
    return lines[0][:, :, None] * lines[1][:, None, :]


def line_gates(module: SCSA, line: Tensor, norm: torch.nn.GroupNorm) -> Tensor:
    """(C, L): each channel is convolved with its own kernel of 3, 5, 7 or 9, then normed by groups of C / 4."""
    out = torch.zeros_like(line)
    for channel in range(16):
        group, place = divmod(channel, 4)
        weight = module.convolutions[group].weight[place, 0]
        half = len(weight) // 2
        assert len(weight) == (3, 5, 7, 9)[group]
        for i in range(line.shape[1]):
            taps = [
                weight[j] * line[channel, i + j - half] for j in range(len(weight)) if 0 <= i + j - half < line.shape[1]
            ]
            out[channel, i] = sum(taps) + module.convolutions[group].bias[place]
    for group in range(4):
        part = out[4 * group : 4 * group + 4]
        out[4 * group : 4 * group + 4] = (part - part.mean()) / (part.var(correction=0) + norm.eps).sqrt()
    return 1 / (1 + torch.exp(-(out * norm.weight[:, None] + norm.bias[:, None])))


def channel_gate(module: SCSA, image: Tensor, window: int, heads: int) -> Tensor:
    high, wide = min(window, image.shape[1]), min(window, image.shape[2])
    rows, columns = image.shape[1] // high, image.shape[2] // wide
    y = image[:, : rows * high, : columns * wide].unflatten(2, (columns, wide)).unflatten(1, (rows, high)).mean((2, 4))
    y = (y - y.mean()) / (y.var(correction=0) + module.norm.eps).sqrt()
    y = (y * module.norm.weight[:, None, None] + module.norm.bias[:, None, None]).flatten(1)
    q, k, v = (layer.weight[:, 0, 0] * y for layer in (module.q, module.k, module.v))
    gates = []
    for head in range(heads):
        part = slice(head * 16 // heads, (head + 1) * 16 // heads)
        scores = torch.exp(q[part] @ k[part].T / (16 / heads) ** 0.5)
        gates.append(((scores / scores.sum(1, keepdim=True)) @ v[part]).mean(1))
    return torch.cat(gates).sigmoid()[:, None, None]


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize(("size", "window"), [((8, 8), 7), ((14, 9), 7), ((4, 4), 7), ((6, 3), 2)])
def test_it_is_the_equations(size, window, heads):
    torch.manual_seed(0)
    module, x = randomised(SCSA(16, window=window, heads=heads), 1).double(), features(*size)
    expected, gates = written_out(module, x, window, heads)
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module.map, gates.mean(1, keepdim=True))


@pytest.mark.parametrize("channels", [16, 64, 320])
def test_sixteen_parameters_a_channel(channels):
    assert sum(p.numel() for p in SCSA(channels).parameters()) == 16 * channels


def test_start_identity():
    module, x = SCSA(16, start="identity").double(), features(8, 8)
    torch.testing.assert_close(module(x), x, rtol=0, atol=0)
    plain = SCSA(16).double()
    plain.load_state_dict(module.state_dict(), strict=False)
    with torch.no_grad():
        module.gamma.fill_(0.5)
    torch.testing.assert_close(module(x), (x + plain(x)) / 2)


def test_dropout_acts_in_training_alone():
    module, x = randomised(SCSA(16, dropout=0.5), 1).double(), features(8, 8)
    assert torch.equal(module.eval()(x), module(x))
    assert not torch.equal(module.train()(x), module(x))


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (18, {}, r"attention=scsa needs a multiple of 4 channels, got 18"),
        (16, {"heads": 3}, r"attention\.heads must divide the 16 channels \(1, 2, 4, 8, 16\), got 3"),
        (16, {"window": 0}, r"attention\.window=0 must be a whole number, at least 1"),
        (16, {"dropout": 2.0}, r"attention\.dropout=2\.0 must be a number in \[0, 1\]"),
    ],
)
def test_bad_arguments(channels, options, message):
    with pytest.raises(InputError, match=message):
        SCSA(channels, **options)
