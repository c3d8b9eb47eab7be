"""timm's models: what is passed on, and readable refusals; nothing is downloaded."""

import pytest
import timm
import torch

from zoomexp.backbones.from_timm import from_timm
from zoomexp.errors import InputError


def test_a_model_that_takes_any_size():
    net = from_timm("resnet10t", num_classes=3, in_chans=1, image_size=64)
    assert net(torch.zeros(2, 1, 48, 48)).shape == (2, 3)


def test_a_model_for_one_size_is_built_for_the_one_asked_for():
    net = from_timm("test_vit", num_classes=3, in_chans=3, image_size=64)
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    assert net.patch_embed.img_size == (64, 64)


def test_a_name_with_a_tag_and_arguments_of_the_constructor():
    net = from_timm("resnet18.a1_in1k", num_classes=2, in_chans=3, drop_rate=0.25)
    assert (type(net).__name__, net.drop_rate) == ("ResNet", 0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnett50"}, r"backbone\.name=resnett50: timm has no such model; near: .*resnet50"),
        ({"name": "qqqqqqqq"}, r"backbone\.name=qqqqqqqq: timm has no such model; near: none"),
        ({"name": "deit_small_patch16_224"}, r"backbone\.image_size: deit_small_patch16_224 .* for example 224"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        from_timm(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("failure", [OSError("no route to host\nsecond line"), RuntimeError("no weights\nfor this")])
def test_weights_that_cannot_be_had(monkeypatch, failure):
    def create(name, pretrained=False, **kwargs):
        raise failure

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(
        InputError, match=r"^backbone\.pretrained=true: the weights of resnet18 .*\(no \w+.*\); use back"
    ):
        from_timm("resnet18", pretrained=True)
    with pytest.raises(type(failure)):  # without weights it is another mistake, and not this one
        from_timm("resnet18", pretrained=False)


def test_an_error_without_a_message(monkeypatch):
    def create(name, pretrained=False, **kwargs):
        raise OSError

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(InputError, match=r"cannot be loaded here \(OSError\)"):
        from_timm("resnet18", pretrained=True)
