"""How far modules move their host, against hosts whose answer is known."""

import pytest
import torch
from torch import nn

from tests.host import Host
from zoomexp.analysis.module_effect import module_effects
from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.cbam import CBAM
from zoomexp.attention.loupe import Loupe
from zoomexp.attention.multi_head import MultiHead
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.errors import InputError
from zoomexp.insertion import insert


class Times(nn.Module):
    """Multiplies what comes in."""

    def __init__(self, channels: int, factor: float = 1.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def effects(make) -> list:
    torch.manual_seed(0)
    net = Host().eval()
    images = torch.rand(6, 1, 8, 8) + 1
    insert(net, make, ["conv"], images[:1])
    return module_effects(net, lambda: net(images))


def test_of_a_module_that_multiplies():
    torch.manual_seed(0)
    net = Host().eval()
    images = torch.rand(6, 1, 8, 8) + 1
    nn.init.zeros_(net.fc.bias)
    insert(net, Times, ["conv"], images[:1])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    (one,) = module_effects(net, lambda: net(images))
    assert (one.site, one.features, one.classes) == ("conv", pytest.approx(0.5), 0)
    assert one.logits == pytest.approx(0.5)
    assert one.told() == (
        "module at conv: moves features by 50.00%, logits by 50.00%, the likeliest class of 0% of the images"
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert isinstance(net.inserted["conv"].module, Times)


def test_a_module_that_enlarges_has_no_features_to_compare():
    (one,) = effects(AttZoom)
    assert one.features is None and one.logits > 0 and "features of another size" in one.told()


@pytest.mark.parametrize(("make", "most"), [(Loupe, 0.02), (CBAM, 0.01), (SelfAttention, 0), (MultiHead, 0)])
def test_starts_near_the_identity(make, most):
    options = {"heads": 2} if make is MultiHead else {}
    (one,) = effects(lambda channels: make(channels, start="identity", **options))
    assert one.features <= most
    module = make(4, start="identity", **options)
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    (module(x) * torch.randn(x.shape)).sum().backward()
    assert any(parameter.grad.abs().max() > 1e-3 for parameter in module.parameters())  # it can leave its start


def test_starts_that_cannot_be():
    for make, options in ((Loupe, {"mask": "random"}), (Loupe, {"bias": 2.0}), (CBAM, {"residual": False}),
                          (SelfAttention, {"gamma": 1}), (MultiHead, {"heads": 2, "residual": False})):  # fmt: skip
        with pytest.raises(InputError, match=r"attention\.start=identity needs"):
            make(4, start="identity", **options)
        with pytest.raises(InputError, match=r"attention\.start='near' must be one of paper, identity"):
            make(4, start="near", **options)
