"""A teacher's labels of places: its classifier on each of them, what is kept, and teachers that have none."""

from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from zoomexp.backbones.resnet20 import resnet20
from zoomexp.errors import InputError
from zoomexp.relevance.dense_labels import DenseLabels, place_logits

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MAKE = {
    "resnet20": lambda: resnet20(num_classes=7, in_chans=3),
    "vgg11_bn": lambda: timm.create_model("vgg11_bn", num_classes=7, mlp_ratio=0.01),
    **{name: lambda name=name: timm.create_model(name, num_classes=7) for name in
       ("resnet18", "test_efficientnet", "convnext_atto", "mobilenetv3_small_050")},
}  # fmt: skip
LINEAR = ("resnet20", "resnet18", "test_efficientnet")


def made(name):
    torch.manual_seed(0)
    return MAKE[name]().eval()


@pytest.mark.parametrize("name", LINEAR)
@torch.no_grad()
def test_the_classifier_is_a_one_by_one_convolution(name):
    """And the mean over the places is what the network says of the image."""
    net = made(name)
    nn.init.normal_(net.get_classifier().weight)
    logits, fc = place_logits(net, IMAGES), net.get_classifier()
    wanted = F.conv2d(net.forward_features(IMAGES), fc.weight[:, :, None, None], fc.bias).permute(0, 2, 3, 1)
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits.mean((1, 2)), net(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in MAKE if name not in LINEAR])
@torch.no_grad()
def test_a_head_that_is_more_sees_one_place_at_a_time(name):
    """An image whose map is the same everywhere has the labels of the whole at every place."""
    net = made(name)
    features = net.forward_features(IMAGES)[:, :, :1, :1].expand(-1, -1, 2, 2)
    net.forward_features = lambda _: features
    logits = place_logits(net, IMAGES)
    torch.testing.assert_close(
        logits, net.forward_head(features)[:, None, None].expand(2, 2, 2, 7), rtol=1e-4, atol=1e-4
    )


def test_the_highest_of_each_place_are_kept():
    net = made("resnet18")
    logits = place_logits(net, IMAGES)
    for top in (3, 9):
        kept = DenseLabels(top)(net, IMAGES, torch.zeros(2, dtype=torch.int64))
        assert kept.shape == (2, 2, min(top, 7), 2, 2) and not kept.requires_grad
        assert kept.shape[1:] == DenseLabels(top).shape(net, SimpleNamespace(channels=3, image_size=64, num_classes=7))
        for image, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(2)).tolist():
            order = sorted(range(7), key=lambda c, at=(image, row, column): -logits[at][c])[:top]
            assert kept[image, 1, :, row, column].tolist() == order
            assert torch.equal(kept[image, 0, :, row, column], logits[image, row, column, order])


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Linear(2, 2), "Linear has no last map"),
        (
            timm.create_model("vit_tiny_patch16_224", depth=1, img_size=64),
            r"VisionTransformer ends with .*\(1, 17, 192\)",
        ),
        (
            timm.create_model(
                "swin_tiny_patch4_window7_224", img_size=64, window_size=2, embed_dim=24, depths=(1, 1, 1, 1)
            ),
            r"SwinTransformer ends with .*",
        ),
    ],
    ids=str,
)
def test_teachers_without_a_last_map(net, message):
    data = SimpleNamespace(channels=3, image_size=64, num_classes=7, name="x")
    with pytest.raises(InputError, match=rf"^relevance=dense_labels: {message}; allowed: a convolutional network"):
        DenseLabels().shape(net, data)


def test_classes_that_do_not_fit():
    data = SimpleNamespace(channels=3, image_size=64, num_classes=5, name="birds")
    with pytest.raises(
        InputError, match=r"^relevance=dense_labels: the teacher knows 7 classes, dataset=birds has 5; take"
    ):
        DenseLabels().shape(made("resnet18"), data)
    many = timm.create_model("resnet10t", num_classes=2049)
    with pytest.raises(InputError, match=r"^relevance=dense_labels: at most 2048 classes, got 2049$"):
        DenseLabels().shape(many, SimpleNamespace(channels=3, image_size=64, num_classes=2049, name="x"))
    with pytest.raises(InputError, match=r"^relevance\.method\.top=0 must be a whole number, at least 1$"):
        DenseLabels(0)
