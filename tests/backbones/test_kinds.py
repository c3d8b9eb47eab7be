"""The kind of a timm model, against a list made by hand: a family of each sort that timm has."""

import pytest

from zoomexp.backbones.kinds import kind_of

BY_HAND = {
    "cnn": "resnet50 tf_efficientnet_lite0 convnext_tiny vgg16 densenet121 mobilenetv3_large_100 regnety_004 "
    "fasternet_t0 csatv2 repvgg_a0 coatnet_0_224",
    "swin": "swin_tiny_patch4_window7_224 swin_base_patch4_window7_224.ms_in22k swinv2_tiny_window8_256 "
    "swinv2_cr_tiny_224",
    "vit": "vit_small_patch14_dinov2 deit_small_patch16_224 deit3_small_patch16_224 beit_base_patch16_224 "
    "eva02_tiny_patch14_224 cait_s24_224 xcit_tiny_12_p8_224 volo_d1_224 tnt_s_patch16_224 crossvit_9_240 "
    "hiera_tiny_224 vit_tiny_r_s16_p8_224",
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in BY_HAND for name in BY_HAND[kind].split()])
def test_kind(kind, name):
    assert kind_of(name) == kind


@pytest.mark.parametrize("name", ["no_such_model", "???", None, 3])
def test_what_timm_does_not_have_is_of_no_kind(name):
    assert kind_of(name) is None
