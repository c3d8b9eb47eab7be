"""What `build_model` refuses."""

import pytest
from torch import nn

from zoomexp.errors import InputError
from zoomexp.model import build_model


def tiny(num_classes, in_chans):
    return nn.Sequential(nn.Conv2d(in_chans, 4, 1), nn.Flatten(), nn.LazyLinear(num_classes))


@pytest.mark.parametrize("name", ["backbone", "attention", "tokens", "detector", "decoder", "head"])
def test_a_network_is_no_builder_of_one(name):
    given = {"backbone": tiny} | {name: nn.Identity()}
    with pytest.raises(InputError, match=f"^{name}: must be a class or function that builds one, .* Identity$"):
        build_model(**given, num_classes=2, in_chans=1, image_size=4)


def test_nor_is_a_name():
    with pytest.raises(InputError, match=r"^backbone: must be .* got 'resnet20'$"):
        build_model("resnet20", num_classes=2, in_chans=1, image_size=4)
