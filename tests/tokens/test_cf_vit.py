"""CF-ViT against its equations, one image at a time, and what it has to keep to as a network."""

import copy
import math
from pathlib import Path

import pytest
import timm
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from timm.layers import resample_abs_pos_embed
from timm.models import VisionTransformer
from timm.models.deit import VisionTransformerDistilled
from torch import nn
from torch.nn import functional as F

from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs, macs_over
from zoomexp.model import build_model
from zoomexp.tokens.cf_vit import CFViT

HOSTS = {
    "deit": {},
    "deit3": {"init_values": 1e-6, "no_embed_class": True},
    "q/k norms": {"qk_norm": True},
    "average": {"global_pool": "avg", "class_token": False},
    "average beside a class token": {"global_pool": "avg"},
    "registers": {"reg_tokens": 2},
    "no positions": {"pos_embed": "none"},
}


def make(vit, **options):
    """A network whose own parameters are far from where they start."""
    net = CFViT(vit, image_size=48, **{"momentum": 0.6, "first_block": 1} | options)
    generator = torch.Generator().manual_seed(8)
    for parameter in (net.positions, *net.reuse.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3 + 0.3
    return net.eval()


def run(vit, x):
    """Logits and encoded tokens of x (N, D), and the attention (h, N, N) of each block."""
    matrices = []
    for block in vit.blocks:
        attn = block.attn
        q, k, _ = attn.qkv(block.norm1(x)).reshape(len(x), 3, attn.num_heads, -1).unbind(1)
        q, k = attn.q_norm(q).transpose(0, 1), attn.k_norm(k).transpose(0, 1)
        matrices.append((q @ k.mT / q.shape[2] ** 0.5).softmax(2))
        x = block(x[None])[0]
    x = vit.norm(x)
    return vit.forward_head(x[None])[0], x, matrices


def equations(net, image, alpha=0.5):
    """Coarse and fine logits (K,) of one image, the cells refined, and the number of tokens in the fine stage."""
    vit, prefix = net.vit, net.vit.num_prefix_tokens
    learned = [token[0] for token in (vit.cls_token, vit.reg_token) if token is not None]
    tokens = torch.cat(learned) if learned else torch.zeros(0, vit.embed_dim)
    at_prefix = net.positions[:-9] if len(net.positions) > 9 else 0
    small = F.interpolate(image[None], size=(24, 24), mode="bilinear")
    cells = vit.patch_embed.proj(small)[0].flatten(1).T + net.positions[-9:]
    coarse, encoded, matrices = run(vit, torch.cat([tokens + at_prefix, cells]))
    mean = 0
    for matrix in matrices[1:]:
        rows = matrix[:, :1] if vit.has_class_token else matrix[:, prefix:]
        mean = 0.6 * mean + 0.4 * rows.mean((0, 1))[prefix:]
    zoomed = sorted(range(9), key=lambda c: -mean[c])[: math.ceil(alpha * 9)]
    seen = encoded[prefix:]
    for layer in net.reuse:
        seen = layer(seen)
    seen = F.interpolate(seen.T.reshape(1, -1, 3, 3), size=(6, 6), mode="nearest")[0].flatten(1).T
    full = vit._pos_embed(vit.patch_embed(image[None]))[0]
    fine = full[prefix:] + seen
    sequence = list(full[:prefix])
    for cell in range(9):
        row, column = 2 * (cell // 3), 2 * (cell % 3)
        own = [fine[6 * (row + i) + column + j] for i in (0, 1) for j in (0, 1)]
        sequence += own if cell in zoomed else [cells[cell]]
    return coarse, run(vit, torch.stack(sequence))[0], zoomed, len(sequence)


def close(actual, expected, tolerance=1e-4):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", HOSTS)
def test_logits_are_those_of_the_equations(small_vit, six_images, name):
    net = make(small_vit(**HOSTS[name]))
    with torch.no_grad():
        logits, (_, fine, zoomed, tokens) = net(six_images), zip(*(equations(net, x) for x in six_images), strict=True)
    close(logits, torch.stack(fine))
    assert len({tuple(sorted(cells)) for cells in zoomed}) > 1
    assert [set(row.nonzero()[:, 0].tolist()) for row in net.zoomed.flatten(1)] == [set(cells) for cells in zoomed]
    prefix = net.vit.num_prefix_tokens
    assert net.lengths.tolist() == list(tokens) == [prefix + 4 * 5 + 4] * 6
    assert [n.tolist() for n in net.tokens_per_block] == [[prefix + 9 + prefix + 24] * 6] * 4


@pytest.mark.parametrize(("alpha", "count"), [(0, 0), (0.2, 2), (1, 9)])
def test_the_share_of_the_cells(small_vit, six_images, alpha, count):
    net = make(small_vit(), alpha=alpha)
    with torch.no_grad():
        close(net(six_images), torch.stack([equations(net, image, alpha)[1] for image in six_images]))
    assert (net.zoomed.sum((1, 2)) == count).all() and net.lengths.tolist() == [10 + 3 * count] * 6


@pytest.mark.parametrize("name", ["deit", "average"])
def test_images_that_are_certain_are_done_after_the_coarse_stage(small_vit, six_images, name):
    net = make(small_vit(**HOSTS[name]))
    prefix = net.vit.num_prefix_tokens
    with torch.no_grad():
        coarse, fine, *_ = zip(*(equations(net, image) for image in six_images), strict=True)
        coarse, fine = torch.stack(coarse), torch.stack(fine)
        certain = coarse.softmax(1).amax(1)
        net.threshold = certain.sort().values[2:4].mean().item()
        done, logits = certain >= net.threshold, net(six_images)
        close(logits, torch.where(done[:, None], coarse, fine))
        assert done.sum() == 3 and torch.equal(net.zoomed.any((1, 2)), ~done)
        assert net.lengths.tolist() == torch.where(done, prefix + 9, prefix + 24).tolist()
        for lengths in net.tokens_per_block:
            assert lengths.tolist() == torch.where(done, prefix + 9, 2 * prefix + 33).tolist()
        close(torch.cat([net(image[None]) for image in six_images]), logits, 1e-5)  # whatever the batch mates do
        net.threshold = 0.0
        close(net(six_images), coarse)
        assert not net.zoomed.any() and net.lengths.tolist() == [prefix + 9] * 6


def test_at_1_every_image_goes_on_even_if_it_is_certain(small_vit, six_images):
    net = make(small_vit())
    net.vit.head.weight.data *= 1e4
    assert (torch.stack([equations(net, image)[0] for image in six_images]).softmax(1).amax(1) == 1).any()
    net(six_images)
    assert net.zoomed.any((1, 2)).all()


def test_in_training_the_coarse_logits_follow_the_fine_ones(small_vit, six_images):
    """Every image goes on; the divergence and its gradient, which leaves the fine logits alone."""
    net = make(small_vit(), threshold=0.0).train()
    coarse, fine, *_ = (torch.stack(x) for x in list(zip(*(equations(net, i) for i in six_images), strict=True))[:2])
    close(net(six_images), fine)
    p, q = fine.detach().softmax(1), coarse.softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    close(net.auxiliary_loss, divergence)
    for weight in (net.vit.head.weight, net.vit.blocks[0].mlp.fc1.weight, net.positions):
        close(*(torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (net.auxiliary_loss, divergence)))
    assert copy.deepcopy(net).auxiliary_loss is None
    net.eval()(six_images)
    assert net.auxiliary_loss is None


def test_all_cells_are_fine_at_first(small_vit, six_images):
    """In training, in epochs 0 to 2 of 4: logits, divergence, counts; tests choose cells all the while."""
    net = make(small_vit(), warmup="2/3")
    with torch.no_grad():
        coarse, whole = (torch.stack(x) for x in zip(*(equations(net, i, 1)[:2] for i in six_images), strict=True))
        chosen = torch.stack([equations(net, image)[1] for image in six_images])
        assert not torch.allclose(whole, chosen, atol=1e-2)
        for epoch, fine, cells in ((None, chosen, 5), (0, whole, 9), (2, whole, 9), (3, chosen, 5)):
            if epoch is not None:
                net.begin_epoch(epoch, 4)
            close(net.train()(six_images), fine)
            p, q = fine.softmax(1), coarse.softmax(1)
            close(net.auxiliary_loss, (p * (p.log() - q.log())).sum(1).mean())
            assert (net.zoomed.sum((1, 2)) == cells).all() and net.lengths.tolist() == [10 + 3 * cells] * 6
            close(net.eval()(six_images), chosen)


def test_fine_patches_without_positions_at_first(small_vit, six_images):
    """As the released code has it: those of a host whose positions are 0; later epochs have them."""
    net = make(small_vit(), warmup="2/3", warmup_positions=False)
    bare = make(small_vit(), alpha=1)
    bare.vit.pos_embed.data.zero_()
    with torch.no_grad():
        chosen, whole = net(six_images), bare(six_images)
        for epoch, expected in ((2, whole), (3, chosen)):
            net.begin_epoch(epoch, 4)
            close(net.train()(six_images), expected)
            close(net.eval()(six_images), chosen)


def test_how_many_epochs_have_all_cells_fine(small_vit):
    cases = [(300, "2/3", 201), (30, "2/3", 21), (4, "2/3", 3), (3, "2/3", 2), (2, "2/3", 1), (1, "2/3", 0),
             (300, 0, 0), (300, 1, 300), (1, 1, 1), (300, 0.25, 76)]  # fmt: skip
    for epochs, share, first in cases:
        net, told = CFViT(small_vit(), image_size=48, warmup=share), []
        for epoch in range(epochs):
            net.begin_epoch(epoch, epochs)
            told.append(net.all_fine)
        assert told == [True] * first + [False] * (epochs - first), (epochs, share)
        assert net.changes == bool(share)


def test_gradients_reach_every_parameter_and_checkpointing_changes_nothing(small_vit, six_images):
    gradients = []
    for checkpointing in (False, True):
        net = make(small_vit(init_values=1e-6)).train()
        net.vit.set_grad_checkpointing(checkpointing)
        net(six_images).sin().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all(gradient is not None and gradient.any() for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_the_hosts_own_positions_do_not_learn_from_the_coarse_stage(small_vit, six_images):
    net = make(small_vit()).train()
    net(six_images)
    own, coarse = torch.autograd.grad(net.auxiliary_loss, (net.vit.pos_embed, net.positions), allow_unused=True)
    assert own.abs().max() < 1e-6 * coarse.abs().max()


def test_coarse_positions_start_as_the_hosts_resampled(small_vit):
    vit = small_vit()
    expected = resample_abs_pos_embed(vit.pos_embed, [3, 3], [6, 6], num_prefix_tokens=1)[0]
    close(CFViT(vit, image_size=48).positions, expected)
    assert CFViT(small_vit(no_embed_class=True), image_size=48).positions.shape == (9, 48)


def test_bf16_and_copies(small_vit, bf16_and_copies):
    bf16_and_copies(make(small_vit(), threshold=0.8))


def test_both_tokens_of_a_distilled_host_stay(small_vit, six_images):
    net = CFViT(small_vit(kind=VisionTransformerDistilled), image_size=48).eval()
    assert net(six_images).shape == (6, 7) and net.lengths.tolist() == [2 + 24] * 6


def test_a_model_is_built_from_the_file_for_images_of_another_size():
    path = Path(__file__).parents[2] / "configs" / "tokens" / "cf_vit.yaml"
    config = OmegaConf.load(path)
    del config["defaults"]  # the host that the file names
    net = build_model(
        lambda **shape: VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=4, num_heads=3, **shape),
        num_classes=3,
        in_chans=1,
        image_size=64,
        tokens=instantiate(config),
    )
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 3) and net.inputs == ("image",)
    assert net.lengths.tolist() == [1 + 16 + 3 * 8] * 2
    plain = CFViT(VisionTransformer(depth=4), image_size=224)
    for name in ("threshold", "momentum", "first_block"):
        assert getattr(net, name) == getattr(plain, name)


def test_cost_on_deit_s():
    """4.0 G in the paper, whose code runs the MLP on all 49 cells; 1.1 G where the coarse stage suffices."""
    net = CFViT(timm.create_model("deit_small_patch16_224"), image_size=224).eval()
    image = torch.zeros(1, 3, 224, 224)
    assert macs(net, image) / 1e9 == pytest.approx(4.0, rel=0.02)
    assert net.lengths.tolist() == [125] and net.tokens_per_block[0].tolist() == [175]
    positions, norm, mlp = 50 * 384, 2 * 384, 2 * 4 * 384**2 + 5 * 384
    assert sum(p.numel() for p in net.parameters()) == 22_050_664 + positions + norm + mlp
    net.threshold = 0.0
    found = macs_over(net, [(image,), (image + 1,)])
    assert found["macs"] / 1e9 == pytest.approx(1.10, rel=0.01) and found["macs_spread"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *[
            ({name: 1.5}, rf"tokens\.{name}=1\.5 must be a number in \[0, 1\]")
            for name in ("alpha", "threshold", "momentum")
        ],
        *[
            ({"warmup": value}, rf"tokens\.warmup={value!r} must be a number in \[0, 1\], or a fraction such as 2/3")
            for value in (1.5, -0.1, "3/2", "2/0", "half", True, None, float("nan"))
        ],
        ({"first_block": 4}, r"tokens\.first_block=4 must be a whole number in 0\.\.3"),
        ({"image_size": 40}, r"dataset\.image_size=40 must be a positive multiple of 16"),
        ({"image_size": 44}, r"dataset\.image_size=44 must be a positive multiple of 16"),
    ],
)
def test_arguments_that_are_refused(small_vit, options, message):
    with pytest.raises(InputError, match=rf"^{message}$"):
        CFViT(small_vit(), **{"image_size": 48} | options)


def test_hosts_and_images_that_are_refused(small_vit):
    with pytest.raises(InputError, match=r"^tokens: the backbone must be a VisionTransformer of timm"):
        CFViT(nn.Linear(2, 2), image_size=48)
    with pytest.raises(InputError, match=r"^tokens: images must be \(B, 3, 48, 48\), got \(1, 3, 48, 64\)$"):
        CFViT(small_vit(), image_size=48)(torch.zeros(1, 3, 48, 64))
