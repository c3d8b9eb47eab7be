"""Token fusion against eq. 13 written out patch by patch, on hosts of every layout."""

import copy
from functools import partial

import pytest
import timm
import torch
from timm.models import SwinTransformer, VisionTransformer
from timm.models.volo import VOLO
from torch import nn
from torch.nn import functional as F

from zoomexp.attention.cbam import CBAM
from zoomexp.errors import InputError
from zoomexp.insertion import attention_maps, insert
from zoomexp.model import build_model
from zoomexp.tokens.fusion import ZoomFusion, fusion_weights
from zoomexp.tokens.scorers.hpm import HPM
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.scorers.uniform import Uniform

SIZE, CELL, SIDE = 32, 8, 4
VIT = {"img_size": SIZE, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 10}
SWIN = {"img_size": SIZE, "window_size": 4, "embed_dim": 24, "depths": (1, 2), "num_heads": (2, 4), "num_classes": 10}
STEM = {"img_size": SIZE, "layers": (1, 1), "embed_dims": (16, 16), "num_heads": (2, 2), "mlp_ratio": 2,
        "downsamples": (True, False), "outlook_attention": (True, False), "stem_hidden_dim": 8,
        "use_mix_token": False, "use_aux_head": False, "num_classes": 10}  # fmt: skip
HOSTS = {
    "swin": partial(SwinTransformer, **SWIN),
    "swin, as many channels as tokens a side": partial(SwinTransformer, **(SWIN | {"embed_dim": 8})),
    "vit": partial(VisionTransformer, **VIT),
    "vit, grey": partial(VisionTransformer, **VIT, in_chans=1),
    "vit, patch norm, any size": partial(
        VisionTransformer, **VIT, embed_norm_layer=nn.LayerNorm, dynamic_img_size=True
    ),
    "volo, convolutional stem": partial(VOLO, **STEM),
}
GIVEN = partial(TeacherMaps, scale="given")


def make_host(name="swin"):
    torch.manual_seed(0)
    host = HOSTS[name]().eval()
    for parameter in host.parameters():  # biases, scales and norms too
        parameter.data += 0.1 * torch.randn_like(parameter)
    return host


def make(name="swin", **options):
    given = {"scorer": GIVEN, "image_size": SIZE, "cell": CELL, "alpha": 0.5} | options
    return ZoomFusion(make_host(name), **given).eval()


def batch(name="swin", count=3):
    generator = torch.Generator().manual_seed(1)
    channels = 1 if "grey" in name else 3
    images = torch.randn(count, channels, SIZE, SIZE, generator=generator)
    return images, torch.rand(count, SIDE, SIDE, generator=generator)


def embedded(model, images, maps):
    """What the host's patch embedding hands on."""
    found = []
    handle = model.net.patch_embed.register_forward_hook(lambda _m, _a, output: found.append(output))
    model(images, maps)
    handle.remove()
    return found[0]


def on_grid(layer, tokens):
    """An embedding's output as (B, G, G, D)."""
    if tokens.dim() == 3:
        side = round(tokens.shape[1] ** 0.5)
        return tokens.unflatten(1, (side, side))
    return tokens if hasattr(layer, "norm") else tokens.permute(0, 2, 3, 1)  # VOLO's has no norm, and gives NCHW


def embed(layer, images):
    """The layer's own tokens of images of any size, without its hooks, as (B, G, G, D)."""
    layer.strict_img_size = False
    return on_grid(layer, layer.forward(images))


def written_out(layer, images, maps, alpha):
    """Eq. 13, patch by patch."""
    enlarged = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    plain, fine = embed(layer, images), embed(layer, enlarged)
    side = plain.shape[1]
    scores = F.interpolate(maps[:, None], size=(2 * side, 2 * side), mode="bilinear", align_corners=False)[:, 0]
    expected = plain.clone()
    for b in range(len(images)):
        for r in range(side):
            for c in range(side):
                if maps[b, r * SIDE // side, c * SIDE // side] >= alpha:
                    places = [(b, 2 * r + i, 2 * c + j) for i in (0, 1) for j in (0, 1)]
                    total = sum(scores[place] for place in places)
                    expected[b, r, c] = sum(scores[place] / total * fine[place] for place in places)
    return expected


@pytest.mark.parametrize("name", HOSTS)
def test_equation_13(name):
    model, (images, maps) = make(name), batch(name)
    with torch.no_grad():
        found = on_grid(model.net.patch_embed, embedded(model, images, maps))
        expected = written_out(model.net.patch_embed, images, maps, 0.5)
    assert 0 < model.zoomed.sum() < model.zoomed.numel()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", HOSTS)
def test_above_all_scores_the_host_is_as_it_was(name):
    images, maps = batch(name)
    with torch.no_grad():
        model = make(name, alpha=1)
        torch.testing.assert_close(model(images, maps), make_host(name)(images), atol=1e-6, rtol=0)
    assert not model.zoomed.any()
    assert torch.equal(model.scores, maps)


@pytest.mark.parametrize("score", [0.3, 0.0])
def test_equal_scores_give_the_plain_mean_of_the_four_fine_tokens(score):
    model, (images, maps) = make(alpha=score), batch()
    with torch.no_grad():
        found = embedded(model, images, torch.full_like(maps, score))
        fine = embed(model.net.patch_embed, F.interpolate(images, scale_factor=2))
    expected = fine.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean((2, 4))
    assert model.zoomed.all()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_weights_sum_to_1_and_grow_with_the_score():
    weights = fusion_weights(batch()[1], 8)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 64))
    assert weights.min() >= 0
    assert torch.equal(fusion_weights(torch.zeros(1, 2, 2), 4), torch.full((1, 16, 4), 0.25))
    model, (images, maps) = make(), batch()
    model.net.patch_embed.proj.weight.data.zero_()  # tokens are the bias, fused ones their weights' sum of it
    tokens = embedded(model, images, maps)
    torch.testing.assert_close(tokens, tokens[:1, :1, :1].expand_as(tokens))


@pytest.mark.parametrize("name", ["swin", "volo, convolutional stem"])
def test_a_host_gets_its_grid(name):
    images, maps = batch(name)
    with torch.no_grad():
        zoomed, plain = embedded(make(name), images, maps), make_host(name).patch_embed(images)
    assert zoomed.shape == plain.shape
    assert set(make(name).net.state_dict()) == set(make_host(name).state_dict())


@pytest.mark.parametrize("name", ["swin", "vit, patch norm, any size", "volo, convolutional stem"])
def test_gradients_are_those_of_the_equation(name):
    model, (images, maps) = make(name), batch(name)
    layer = model.net.patch_embed
    both = embedded(model, images, maps), written_out(layer, images, maps, 0.5)
    found, expected = (torch.autograd.grad(x.square().sum(), list(layer.parameters())) for x in both)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", HOSTS)
def test_an_images_logits_do_not_depend_on_its_batch_mates(name):
    images, maps = batch(name)
    model = make(name)
    with torch.no_grad():
        alone = torch.cat([model(images[i : i + 1], maps[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(model(images, maps), alone, atol=1e-5, rtol=0)


def test_a_copy_fuses_by_itself():
    model, (images, maps) = make(), batch()
    with torch.no_grad():
        before = model(images, maps)
        copied = copy.deepcopy(model)
        torch.testing.assert_close(copied(images, maps), before)
        copied.net.patch_embed.proj.weight.zero_()
        other = copied(images, 1 - maps)
        torch.testing.assert_close(model(images, maps), before)
    assert not torch.allclose(other, before)
    assert torch.equal(model.scores, maps) and torch.equal(copied.scores, 1 - maps)


def test_what_is_inserted_after_the_embedding_sees_fused_tokens():
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

    host, (images, maps) = make_host(), batch()
    insert(host, lambda channels: Doubled(), "patch_embed", images[:1])
    model = ZoomFusion(host, scorer=GIVEN, image_size=SIZE, cell=CELL, alpha=0.5).eval()
    with torch.no_grad():
        torch.testing.assert_close(embedded(model, images, maps), 2 * embedded(make(), images, maps))


def test_modules_of_the_host_keep_their_maps():
    tokens = partial(ZoomFusion, scorer=Uniform, cell=CELL)
    net = build_model(
        lambda **shape: SwinTransformer(**(SWIN | shape)), num_classes=10, in_chans=3, image_size=SIZE,
        attention=CBAM, at="stage1", tokens=tokens,
    )  # fmt: skip
    net(batch()[0])
    assert net.zoomed.all() and net.inputs == ("image",)
    assert [tuple(value.shape) for value in attention_maps(net).values()] == [(3, 1, 8, 8)]


def test_the_loss_of_a_scorer_that_learns():
    model = make(scorer=partial(HPM, width=64, depth=1)).train()
    model(batch()[0])
    model.auxiliary_loss.backward()
    assert any(parameter.grad is not None for parameter in model.scorer.parameters())
    assert make().auxiliary_loss is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.2}, r"tokens\.alpha=1\.2 must be a number in \[0, 1\]"),
        ({"alpha": -0.1}, r"tokens\.alpha=-0\.1 must be a number in \[0, 1\]"),
        ({"alpha": "random"}, r"tokens\.test_alpha must be in \[0, 1\] with alpha=random"),
        ({"cell": 6}, r"tokens\.cell=6 must be a positive multiple of 4"),
        ({"cell": 12}, r"dataset\.image_size=32 must be a positive multiple of 12"),
        ({"image_size": 32.0}, r"dataset\.image_size=32\.0 must be a whole number, at least 1"),
        (
            {"image_size": 48},
            r"tokens: the patch_embed of SwinTransformer must take images of 48 pixels, .* match model",
        ),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(InputError, match=f"^{message}") as error:
        make(**arguments)
    assert "\n" not in str(error.value)


def host_of(patch_embed):
    host = nn.Module()
    host.patch_embed = patch_embed
    return host


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (nn.Conv2d(3, 8, 4), r"the host must have a convolutional patch_embed \(Swin, ViT\), got Conv2d"),
        (host_of(nn.Linear(2, 2)), "the host must have a convolutional patch_embed"),
        (VisionTransformer(**(VIT | {"img_size": 30, "patch_size": 5})), "6 patches a side, .* even number of pixels"),
        (VisionTransformer(**(VIT | {"patch_size": (2, 8)})), r"patches of 2 x 8 pixels are not square"),
        (VisionTransformer(**(VIT | {"patch_size": (4, 8)})), r"it gives \(1, 32, 48\)"),
        (host_of(nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.AdaptiveAvgPool2d(4))), "4 patches a side instead of 8"),
        (
            timm.create_model("swinv2_cr_tiny_224", img_size=SIZE, window_size=2, embed_dim=24, depths=(1, 1, 1, 1)),
            r"height \(64\) doesn't match model",
        ),
        (host_of(nn.ModuleList([nn.Conv2d(3, 8, 8)])), "must take images of 32 pixels, enlarged too, and give a grid"),
    ],
)
def test_refused_hosts(host, message):
    with pytest.raises(InputError, match=f"^tokens: .*{message}") as error:
        ZoomFusion(host, scorer=Uniform, image_size=30 if "6 patches" in message else SIZE)
    assert "\n" not in str(error.value)


def test_refused_batches_and_scorers():
    images, maps = batch()
    with pytest.raises(InputError, match=r"images must be \(B, 3, 32, 32\), got \(3, 3, 16, 32\)"):
        make()(images[:, :, :16], maps)
    with pytest.raises(InputError, match=r"scores must be \(B, 4, 4\), one score per cell, got \(3, 8, 8\)"):
        make(scorer=Uniform(image_size=SIZE, patch_size=4))(images)
