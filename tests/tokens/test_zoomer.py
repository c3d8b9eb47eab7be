"""The Zoomer's exact size and cost, other image sizes, and refusals."""

import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs
from zoomexp.tokens.zoomer import Zoomer


@pytest.mark.parametrize(
    ("blocks", "params", "gmacs"), [(2, 311_429, 0.581), (4, 837_061, 0.992), (6, 2_936_901, 1.403)]
)
def test_parameters_and_macs_at_224(blocks, params, gmacs):
    zoomer = Zoomer(blocks)
    assert sum(p.numel() for p in zoomer.parameters()) == params
    with torch.device("meta"):
        image = torch.empty(1, 3, 224, 224)
    assert round(macs(zoomer.to("meta"), image) / 1e9, 3) == gmacs


@pytest.mark.parametrize("blocks", [2, 4, 6])
@pytest.mark.parametrize("size", [16, 64, 80])
def test_any_size_divisible_by_16(blocks, size):
    zoomer = Zoomer(blocks, image_size=size)
    scores = zoomer(torch.randn(2, 3, size, size))
    assert scores.shape == (2, size // 16, size // 16)
    assert 0 < scores.min() <= scores.max() < 1
    scores.sum().backward()
    assert all(p.grad is not None for p in zoomer.parameters())


def test_the_head_is_pool_convolution_relu_linear_sigmoid():
    torch.manual_seed(0)
    zoomer = Zoomer(6, image_size=32).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        deep = zoomer.features[:-1](image)  # (1, 256, 2, 2)
        cells = deep.repeat_interleave(2, 2).repeat_interleave(2, 3)
        squeezed = (torch.einsum("bchw,c->bhw", cells, zoomer.squeeze.weight.flatten()) + zoomer.squeeze.bias).relu()
        expected = (zoomer.scores.weight @ squeezed.flatten() + zoomer.scores.bias).sigmoid().reshape(1, 2, 2)
        assert deep.shape == (1, 256, 2, 2)
        torch.testing.assert_close(zoomer(image), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": 3}, r"zoomer\.blocks=3 must be one of 2, 4, 6"),
        ({"blocks": 8}, r"zoomer\.blocks=8 must be one of 2, 4, 6"),
        ({"image_size": 100}, r"zoomer\.image_size=100 must be a positive multiple of 16"),
        ({"image_size": 0}, r"zoomer\.image_size=0 must be a positive multiple of 16"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        Zoomer(**arguments)


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"made for images of 64 x 64, got \(32, 32\)"):
        Zoomer(image_size=64)(torch.zeros(1, 3, 32, 32))
