"""What `build_model` refuses, and what it takes of a network that has tokens of its own."""

from functools import partial

import pytest
import timm
import torch
from torch import nn

from zoomexp.backbones.start_weights import StartWeights
from zoomexp.errors import InputError
from zoomexp.model import build_model
from zoomexp.tokens.scorers.centre import Centre
from zoomexp.tokens.yolos import YOLOS
from zoomexp.tokens.zoomvit import ZoomViT


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


@pytest.mark.parametrize("detector", [None, partial(YOLOS, boxes=3)], ids=["tokens", "detector"])
def test_other_tokens_and_detectors_are_put_on_the_transformer_of_a_trained_zoomvit(detector):
    """As ZoomViT's table 7 begins with a ZoomViT: its weights are taken, its tokens chosen anew."""
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1, num_classes=2)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    trained = ZoomViT(vit, scorer=Centre, image_size=32)
    trained.start_weights = StartWeights("a run", classifier=True)
    tokens = partial(ZoomViT, scorer=Centre, eta=2)
    net = build_model(lambda **_: trained, num_classes=2, in_chans=3, image_size=32, tokens=tokens, detector=detector)
    chosen = net.host if detector else net
    assert chosen.vit is vit and chosen is not trained and chosen.eta == 2 and net.start_weights.source == "a run"
    assert all(torch.equal(before[name], value) for name, value in vit.blocks.state_dict(prefix="blocks.").items())
    assert build_model(lambda **_: trained, num_classes=2, in_chans=3, image_size=32) is trained
