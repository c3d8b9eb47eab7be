"""LV-ViT against the paper's equations written out, its counts, and what else of this package runs on it."""

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from zoomexp.attention.cbam import CBAM
from zoomexp.backbones.lv_vit import lv_vit
from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs
from zoomexp.model import build_model
from zoomexp.relevance.host import check
from zoomexp.tokens.ats import ats
from zoomexp.tokens.dynamicvit import dynamicvit
from zoomexp.tokens.fusion import ZoomFusion
from zoomexp.tokens.ia_red2 import ia_red2
from zoomexp.tokens.scorers.uniform import Uniform
from zoomexp.tokens.tome import tome
from zoomexp.tokens.zoomvit import ZoomViT

SMALL = {"num_classes": 7, "in_chans": 3, "image_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3,
         "num_heads": 2, "drop_path_rate": 0.0}  # fmt: skip
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def make(**options):
    torch.manual_seed(0)
    net = lv_vit(**(SMALL | options)).eval()
    for parameter in net.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer += torch.rand_like(buffer)
    return net


def close(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def norm(x, s, name):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * s[f"{name}.weight"] + s[f"{name}.bias"]


def linear(x, s, name):
    return x @ s[f"{name}.weight"].T + s.get(f"{name}.bias", 0)


def encoded(net, images, heads=2):
    """Tokens (B, 1 + N, D) after the last norm, by the equations."""
    s, x = net.state_dict(), images
    for conv, batch_norm, stride in ((0, 1, 2), (3, 4, 1), (6, 7, 1)):
        weight = s[f"patch_embed.proj.{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
        scale, shift, mean, variance = (
            s[f"patch_embed.proj.{batch_norm}.{key}"][:, None, None]
            for key in ("weight", "bias", "running_mean", "running_var")
        )
        x = ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)
    x = F.conv2d(x, s["patch_embed.proj.9.weight"], s["patch_embed.proj.9.bias"], stride=4).flatten(2).mT
    x = torch.cat([s["cls_token"].expand(len(x), -1, -1), x], 1) + s["pos_embed"]
    for i in range(3):
        q, k, v = (
            part.unflatten(2, (heads, -1)).transpose(1, 2)
            for part in linear(norm(x, s, f"blocks.{i}.norm1"), s, f"blocks.{i}.attn.qkv").chunk(3, 2)
        )
        mixed = (q @ k.mT / q.shape[3] ** 0.5).softmax(3) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), s, f"blocks.{i}.attn.proj") / 2
        hidden = F.gelu(linear(norm(x, s, f"blocks.{i}.norm2"), s, f"blocks.{i}.mlp.fc1"))
        x = x + linear(hidden, s, f"blocks.{i}.mlp.fc2") / 2
    return norm(x, s, "norm")


def test_logits_are_those_of_the_equations():
    net = make().double()
    assert "blocks.0.attn.qkv.bias" not in net.state_dict()
    with torch.no_grad():
        x = encoded(net, IMAGES.double())
        patches = linear(x[:, 1:], net.state_dict(), "aux_head")
        close(net(IMAGES.double()), linear(x[:, 0], net.state_dict(), "head") + 0.5 * patches.max(1).values, 1e-9)
    assert net.auxiliary_logits is None


def test_in_training_head_and_patches_are_told_apart():
    net = make().train()
    net.patch_embed.eval()  # the statistics of its batch norms stay
    x, state = encoded(net, IMAGES), net.state_dict()
    close(net(IMAGES), linear(x[:, 0], state, "head"), 1e-4)
    weight, patches = net.auxiliary_logits["patches"]
    assert weight == 0.5 and list(net.auxiliary_logits) == ["patches"]
    close(patches, linear(x[:, 1:], state, "aux_head"), 1e-4)
    (net(IMAGES).sum() + net.auxiliary_logits["patches"][1].sin().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())
    assert copy.deepcopy(net).auxiliary_logits is None
    kept = net.auxiliary_logits["patches"][1]
    with torch.no_grad():
        net(IMAGES[:1])
    assert net.auxiliary_logits["patches"][1] is kept
    net.eval()(IMAGES)
    assert net.auxiliary_logits is None


def test_counts_of_lv_vit_s_are_those_of_the_paper():
    with torch.device("meta"):
        net = lv_vit(num_classes=1000, in_chans=3)
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(26.15, rel=0.001)
        assert macs(net, torch.zeros(1, 3, 224, 224)) / 1e9 == pytest.approx(6.569, rel=0.01)


def test_images_of_another_size():
    assert make()(torch.randn(2, 3, 48, 48)).shape == (2, 7)


def test_checkpointing_changes_nothing():
    net, gradients = make(), []
    for checkpointing in (False, True):
        net.set_grad_checkpointing(checkpointing)
        net.zero_grad()
        net(IMAGES).sin().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        close(one, other, 1e-4)


@pytest.mark.parametrize(
    "method",
    [
        partial(tome, r=0),
        partial(ats, samples=1000, locations=[1]),
        partial(ia_red2, locations=[1], threshold=0),
        partial(dynamicvit, locations=[1], keep_rate=1),
    ],
)
def test_a_token_method_that_reduces_nothing_changes_nothing(method):
    net = make()
    with torch.no_grad():
        close(method(net, image_size=32).eval()(IMAGES), net(IMAGES))


@pytest.mark.parametrize("method", [partial(tome, r=3), partial(ia_red2, locations=[0, 1], threshold=0.87)])
def test_each_images_own_tokens_are_read(method):
    torch.manual_seed(3)
    net = method(make(), image_size=32).eval()
    with torch.no_grad():
        together, lengths = net(IMAGES), net.lengths.tolist()
        close(together, torch.cat([net(image[None]) for image in IMAGES]), 1e-4)
    assert max(lengths) < 17 and (len(set(lengths)) > 1) == (method.func is ia_red2)


@pytest.mark.parametrize("method", [partial(dynamicvit, locations=[1]), partial(ia_red2, locations=[1])])
def test_patches_are_trained_under_a_token_method(method):
    net = method(make(), image_size=32).train()
    logits = net(IMAGES)
    patches = net.auxiliary_logits["patches"][1]
    (logits.sum() + patches.sin().sum()).backward()
    assert patches.shape == (4, 16, 7) and net.vit.aux_head.weight.grad.any()
    assert copy.deepcopy(net).auxiliary_logits is None


def test_modules_are_inserted_as_into_any_transformer():
    net = build_model(lambda **shape: make(**shape), num_classes=7, in_chans=3, image_size=32, attention=CBAM, at=[0])
    assert net.insertion_sites == ["blocks.0"] and net(IMAGES).shape == (4, 7)


def test_fine_patches_are_fused_into_it():
    plain = make()
    for alpha, zoomed in ((0.0, True), (1.0, False)):
        net = ZoomFusion(copy.deepcopy(plain), scorer=Uniform, image_size=32, cell=8, alpha=alpha).eval()
        with torch.no_grad():
            same = torch.allclose(net(IMAGES), plain(IMAGES), atol=1e-5)
        assert (net.zoomed == zoomed).all() and same != zoomed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrained": True}, r"pretrained=true: lv_vit has no pretrained weights here; only false is possible"),
        ({"patch_size": 7}, r"patch_size=7 must be a positive multiple of 2"),
        ({"image_size": 36}, r"image_size=36 must be a positive multiple of 8"),
        ({"embed_dim": 25}, r"embed_dim=25 must be a positive multiple of 2"),
        ({"depth": 0}, r"depth=0 must be a whole number, at least 1"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate=1\.0 must be a number in \[0, 1\)"),
    ],
)
def test_arguments_that_are_refused(options, message):
    with pytest.raises(InputError, match=rf"^backbone\.{message}$"):
        lv_vit(**(SMALL | options))


def test_the_token_term_is_there_with_fusion():
    fused = ZoomFusion(make(), scorer=Uniform, image_size=32).train()
    fused(IMAGES)
    assert set(fused.auxiliary_logits) == {"patches"}


def test_what_needs_single_patches_or_one_class_token_is_refused():
    with pytest.raises(InputError, match="zoomvit embeds single patches by timm's PatchEmbed"):
        ZoomViT(make(), scorer=Uniform(image_size=32, patch_size=8), image_size=32)
    with pytest.raises(InputError, match="reads its class from all tokens"):
        check(make(), IMAGES, torch.zeros(4, dtype=torch.long))
