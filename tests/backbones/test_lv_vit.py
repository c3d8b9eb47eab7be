"""LV-ViT against the paper's equations written out, its counts, and what else of this package runs on it."""

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from timm.data import Mixup
from torch.nn import functional as F

from zoomexp.attention.cbam import CBAM
from zoomexp.backbones.lv_vit import lv_vit
from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.metrics.cost import macs
from zoomexp.model import build_model
from zoomexp.relevance.host import check
from zoomexp.tasks.classification import Classifier
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


def encoded(net, images, heads=2, after_stem=lambda x: x):
    """Tokens (B, 1 + N, D) after the last norm, by the equations; `after_stem` changes patches (B, N, D)."""
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
    x = after_stem(x)
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


def boxes(rows, columns, draws, seed=0):
    """The boxes that the paper's code would draw: rows from and to, columns from and to."""
    rng, found = np.random.RandomState(seed), []
    for _ in range(draws):
        side = (1 - rng.beta(1.0, 1.0)) ** 0.5
        height, width = int(rows * side), int(columns * side)
        y, x = rng.randint(0, rows), rng.randint(0, columns)
        edges = (y - height // 2, y + height // 2, x - width // 2, x + width // 2)
        found.append([min(max(edge, 0), size) for edge, size in zip(edges, [rows] * 2 + [columns] * 2, strict=True)])
    return found


def in_pairs(x, box, columns):
    """x (B, N, ...) with the patches in the box those of the image as far from the end, one by one."""
    mixed = x.clone()
    for image, place in itertools.product(range(len(x)), range(x.shape[1])):
        if box[0] <= place // columns < box[1] and box[2] <= place % columns < box[3]:
            mixed[image, place] = x[len(x) - 1 - image, place]
    return mixed


def test_mix_token_is_that_of_the_equations():
    """Class logits of mixed patches, patch logits where their own image is, the share of the box; in training alone."""
    net = make(mix_token=True, token_weight=1.0).train()
    for layer in list(net.patch_embed.proj)[:9]:
        layer.eval()  # the statistics of its batch norms stay
    assert net.state_dict().keys() == make().state_dict().keys()
    np.random.seed(0)
    shares = []
    for box in boxes(4, 4, 12):
        logits, state = net(IMAGES), net.state_dict()
        x = encoded(net, IMAGES, after_stem=lambda x, box=box: in_pairs(x, box, 4))
        close(logits, linear(x[:, 0], state, "head"), 1e-4)
        weight, patches = net.auxiliary_logits["patches"]
        close(patches, in_pairs(linear(x[:, 1:], state, "aux_head"), box, 4), 1e-4)
        shares.append((box[1] - box[0]) * (box[3] - box[2]) / 16)
        assert net.mixed_share == shares[-1] and weight == 1.0
    assert min(shares) == 0 < max(shares) and len(set(shares)) > 3
    (logits.sum() + patches.sin().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())
    with torch.no_grad():
        plain = make()
        plain.load_state_dict(net.state_dict())
        close(net.eval()(IMAGES), plain(IMAGES))
    assert net.mixed_share == 0


@pytest.mark.parametrize("mix_token", [False, True])
def test_a_training_step_learns_shares_of_the_box(mix_token):
    """Both terms and their hits, written out; the network's own share counts, which is the box's."""
    net = make(mix_token=mix_token, token_weight=0.25).train()
    task = Classifier(model=net, loss=CrossEntropy(), optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=1.0),
                      scheduler=None, num_classes=7, seed=0)  # fmt: skip
    said, labels = [], torch.tensor([1, 6, 3, 0])
    net.register_forward_hook(lambda *given: said.append(given[2]))
    np.random.seed(0)
    for box in boxes(4, 4, 6):
        terms, hits = task.training_terms({"image": IMAGES, "label": labels}, 0.0)
        a = (box[1] - box[0]) * (box[3] - box[2]) / 16 if mix_token else 0
        target = torch.zeros(4, 7)
        for image in range(4):
            target[image, labels[image]] += 1 - a
            target[image, labels[3 - image]] += a
        close(terms["cross_entropy"], -(target * said[-1].log_softmax(1)).sum(1).mean())
        patches = net.auxiliary_logits["patches"][1].log_softmax(2)
        own = torch.stack([patches[image, :, labels[image]] for image in range(4)])
        close(terms["patches"], -0.25 * own.mean())
        assert hits["acc1"].tolist() == (said[-1].argmax(1) == target.argmax(1)).tolist()


def test_mix_token_beside_what_it_cannot_be_with():
    with pytest.raises(
        InputError, match=r"^mixing: backbone\.mix_token=true mixes images already; choose mixing=none$"
    ):
        Classifier(model=make(mix_token=True), loss=CrossEntropy(), optimizer=torch.optim.SGD, scheduler=None,
                   num_classes=7, seed=0, mixing=Mixup)  # fmt: skip
    for other in ({"tokens": partial(tome, r=1)}, {"tokens": partial(dynamicvit, locations=[1])}):
        with pytest.raises(InputError, match=r"^backbone\.mix_token=true: single patches .*; tokens=uniform$"):
            build_model(
                lambda **shape: make(**shape, mix_token=True), num_classes=7, in_chans=3, image_size=32, **other
            )


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
        ({"token_weight": -0.5}, r"token_weight=-0\.5 must be a finite number, at least 0"),
        ({"mix_token": 1}, r"mix_token=1 must be true or false"),
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
