"""ZoomViT on small hosts: token counts, identity with the host, batch invariance, the released model."""

import copy
from functools import partial

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn
from torch.nn import functional as F

from zoomexp.tokens.positions import sinusoid_1d
from zoomexp.tokens.scorers.random import Random
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.scorers.uniform import Uniform
from zoomexp.tokens.zoomvit import ZoomViT

SIZE, PATCH, SIDE = 64, 8, 8
TINY = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 10}
HOSTS = {
    "deit": {},
    "deit3": {"init_values": 1e-4, "no_embed_class": True},
    "augreg": {"global_pool": "avg", "fc_norm": False},
    "grey, q/k norms, pre-norm, registers": {"in_chans": 1, "qk_norm": True, "pre_norm": True, "reg_tokens": 2},
    "patch norm": {"embed_norm_layer": nn.LayerNorm},
}
GIVEN = partial(TeacherMaps, scale="given")


def make_host(**options):
    torch.manual_seed(0)
    vit = VisionTransformer(**(TINY | options)).eval()
    for parameter in vit.parameters():  # biases, scales and norms too
        parameter.data += 0.1 * torch.randn_like(parameter)
    return vit


def make(vit=None, **options):
    return ZoomViT(vit or make_host(), **({"scorer": GIVEN, "image_size": SIZE} | options)).eval()


def batch(count=4, channels=3, side=SIDE):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, channels, side * PATCH, side * PATCH, generator=generator)
    return images, torch.rand(count, side, side, generator=generator)


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize(("eta", "alpha"), [(2, 1), (0.5, 0)])
def test_the_hosts_own_patches_give_the_hosts_own_logits(name, eta, alpha):
    """At eta 2 nothing zoomed, at eta 0.5 everything: both times the tokens are the host's."""
    vit = make_host(**HOSTS[name])
    images, maps = batch(channels=HOSTS[name].get("in_chans", 3))
    with torch.no_grad():
        torch.testing.assert_close(
            make(vit, eta=eta, alpha=alpha, zfe="none")(images, maps), vit(images), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(("eta", "cells"), [(2, SIDE**2), (0.5, SIDE**2 // 4)])
def test_token_counts_for_every_number_of_zoomed_cells(eta, cells):
    images = torch.zeros(cells + 1, 3, SIZE, SIZE)
    zoomed = torch.rand(cells + 1, cells).argsort(1).argsort(1) < torch.arange(cells + 1)[:, None]  # k in image k
    side = round(cells**0.5)
    maps = F.interpolate(zoomed.float().view(-1, 1, side, side), size=(SIDE, SIDE))[:, 0]
    model = make(eta=eta, alpha=0.5)
    tokens = model.tokenize(images, maps)
    assert model.lengths.tolist() == tokens.sizes == [1 + cells + 3 * k for k in range(cells + 1)]
    assert torch.equal(model.zoomed, zoomed.view(-1, side, side))
    assert torch.equal(model.scores, maps)


@pytest.mark.parametrize(("eta", "expected"), [(2, 1 + 4 * SIDE**2), (0.5, 1 + SIDE**2)])
def test_threshold_0_zooms_every_cell(eta, expected):
    model = make(eta=eta, alpha=0)
    model.tokenize(batch()[0], torch.zeros(4, SIDE, SIDE))
    assert model.zoomed.all()
    assert model.lengths.tolist() == [expected] * 4


def test_both_grids_show_the_same_pixels_at_a_place():
    """A linear host without positions: the mean of a cell's fine tokens is its coarse token."""
    vit = make_host()
    vit.patch_embed.proj.weight.data[:] = vit.patch_embed.proj.weight.data.mean((2, 3), keepdim=True)
    vit.pos_embed.data.zero_()
    images, maps = batch(2)
    for eta in (0.5, 2):
        coarse = make(vit, eta=eta, alpha=1, zfe="none").tokenize(images, maps).dense()[:, 1:]
        fine = make(vit, eta=eta, alpha=0, zfe="none").tokenize(images, maps * 0).dense()[:, 1:]
        means = fine.unflatten(1, (-1, 4)).mean(2)
        order = make(vit, eta=eta, alpha=1, zfe="none").select(maps).order[:, : coarse.shape[1]] - 4 * coarse.shape[1]
        torch.testing.assert_close(means.gather(1, order[:, :, None].expand_as(coarse)), coarse, atol=1e-5, rtol=0)


@pytest.mark.parametrize("eta", [0.5, 2])
@pytest.mark.parametrize("mode", ["ragged", "padded"])
def test_an_images_logits_do_not_depend_on_its_batch_mates(mode, eta):
    images, maps = batch()
    model = make(eta=eta, alpha=0.9 if eta == 0.5 else 0.6, mode=mode, pruning="top_n", prune_n=3)
    with torch.no_grad():
        together = model(images, maps)
        assert len(set(model.lengths.tolist())) > 1
        alone = torch.cat([model(images[i : i + 1], maps[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_ragged_equals_padded():
    images, maps = batch()
    with torch.no_grad():
        ragged, padded = (make(alpha=0.8, mode=mode)(images, maps) for mode in ("ragged", "padded"))
    torch.testing.assert_close(ragged, padded, atol=1e-5, rtol=0)


@pytest.mark.parametrize("zfe", ["soft", "fixed"])
def test_layer_norm_removes_the_papers_zoom_embedding_but_not_a_learned_direction(zfe):
    images, maps = batch()
    with torch.no_grad():
        none = make(alpha=0.8, zfe="none")(images, maps)
        torch.testing.assert_close(make(alpha=0.8, zfe=zfe)(images, maps), none, atol=1e-5, rtol=0)
        learned = make(alpha=0.8, zfe=zfe, zfe_direction="learned")
        learned.zfe_vector.normal_()
        assert (learned(images, maps) - none).abs().max() > 0.1


def test_tokens_are_patches_plus_positions_plus_zoom_embedding_in_order():
    vit = make_host()
    images, maps = batch(1)
    model = make(vit, eta=0.5, alpha=0.9, omega=0.2)
    tokens = model.tokenize(images, maps).values
    small = F.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False)
    fine, coarse = (F.conv2d(x, vit.patch_embed.proj.weight, vit.patch_embed.proj.bias, 8)[0] for x in (images, small))
    order, table = model.select(maps), model.positions.candidates(vit)
    zoomed = int(order.zoomed)
    torch.testing.assert_close(tokens[0], vit.cls_token[0, 0] + vit.pos_embed[0, 0])
    for rank, candidate in enumerate(order.order[0, : int(order.lengths)].tolist()):
        if candidate < 64:
            cell, j = divmod(candidate, 4)
            patch = fine[:, cell // 4 * 2 + j // 2, cell % 4 * 2 + j % 2]
        else:
            patch = coarse[:, (candidate - 64) // 4, candidate % 4]
        zfe = 1 - 1 / (1 + torch.tensor(0.2 * (zoomed - rank)).exp())
        torch.testing.assert_close(tokens[1 + rank], patch + table[candidate] + zfe, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("eta", [0.5, 2])
def test_a_budget_gives_equal_lengths_and_the_logits_of_the_threshold(eta):
    images, maps = batch(1)
    cells = F.max_pool2d(maps, 2) if eta == 0.5 else maps
    alpha = float(cells.flatten().sort(descending=True).values[4])
    with torch.no_grad():
        expected = make(eta=eta, alpha=alpha)(images, maps)
        torch.testing.assert_close(make(eta=eta, budget=5)(images, maps), expected)
    model = make(eta=eta, budget=5, pruning="top_n", prune_n=4)
    assert model.tokenize(*batch()).equal
    assert model.lengths.tolist() == [1 + cells.numel() + 15 - 4] * 4


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("eta", [0.5, 2])
def test_mode_paper_is_the_released_model(eta, alpha):
    vit = make_host(init_values=1e-4)
    images, maps = batch(3)
    maps = (maps * 10).round() / 10 + torch.arange(64).view(8, 8) * 1e-4  # few equal scores
    maps[0, 3, 4] = alpha  # a tie
    maps[1] *= 0.9
    model = make(vit, eta=eta, alpha=alpha, coverage="paper", positions="sinusoid_1d", zfe="fixed", mode="paper")
    tokens, expected = model.tokenize(images, maps), released_tokens(vit, images, maps, eta, alpha)
    torch.testing.assert_close(tokens.dense(), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        x = expected
        for block in vit.blocks:
            x = block(x)
        torch.testing.assert_close(model(images, maps), vit.head(vit.norm(x)[:, 0]), atol=1e-5, rtol=1e-5)


def released_tokens(vit, images, maps, eta, alpha):
    """The released tokenizer, one image at a time: [CLS] fine [SEP] (pads) coarse [SEP] (pads), all fillers zero."""
    big = images if eta == 0.5 else images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    small = F.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False) if eta == 0.5 else images
    fine, coarse = (vit.patch_embed.proj(x).flatten(2).mT for x in (big, small))
    fine_scores = maps if eta == 0.5 else maps.repeat_interleave(2, 1).repeat_interleave(2, 2)
    coarse_scores = F.max_pool2d(maps[:, None], 2)[:, 0] if eta == 0.5 else maps
    groups = []
    for tokens, scores, segment, keep in (
        (fine, fine_scores, 1, lambda s: s > alpha),
        (coarse, coarse_scores, 0, lambda s: s < alpha),
    ):
        table = sinusoid_1d(tokens.shape[1] + 1, 48)
        rows = []
        for image, score in zip(tokens, scores.flatten(1), strict=True):
            order = [i for i in score.argsort(descending=True, stable=True).tolist() if keep(score[i])]
            kept = [image[i] + table[i + 1] + segment for i in order]
            rows.append(torch.stack([*kept, torch.zeros(48)]))
        groups.append(nn.utils.rnn.pad_sequence(rows, batch_first=True))
    first = (vit.cls_token[0, 0] + sinusoid_1d(1, 48)[0]).expand(len(images), 1, -1)
    return torch.cat([first, *groups], 1)


@pytest.mark.parametrize("eta", [0.5, 2])
@pytest.mark.parametrize("positions", ["learned", "sinusoid_1d", "sinusoid_2d"])
def test_gradients_reach_every_parameter_of_the_host(positions, eta):
    model = make(eta=eta, alpha=0.8, positions=positions, zfe_direction="learned").train()
    model(*batch()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert ("vit.pos_embed" in model.state_dict()) == (positions == "learned")


def test_images_of_another_size_than_the_hosts():
    model = make(image_size=96, eta=0.5, alpha=0.9)
    images, maps = batch(side=12)
    assert model(images, maps).shape == (4, 10)
    assert model.lengths.tolist() == (1 + 36 + 3 * model.zoomed.sum((1, 2))).tolist()


def test_bf16_autocast_copies_and_training_draws():
    images, maps = batch()
    model = make(alpha="random", test_alpha=0.9)
    with torch.no_grad():
        exact = model(images, maps)
        with torch.autocast("cpu", torch.bfloat16):
            assert (model(images, maps).float() - exact).abs().max() < 0.1 * exact.abs().max()
        assert torch.equal(copy.deepcopy(model)(images, maps), exact)
        other = make(make_host(class_token=True), alpha="random", test_alpha=0.9)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(images, maps), exact)
    model.train()
    lengths = set()
    for _ in range(5):
        model(images, maps)
        lengths.add(tuple(model.lengths.tolist()))
    assert len(lengths) > 1


def test_inputs_name_what_the_scorer_wants():
    assert make().inputs == ("image", "map")
    assert make(scorer=Random).inputs == ("image",)
    scorer = Uniform(image_size=SIZE, patch_size=PATCH)
    assert make(scorer=scorer).scorer is scorer
    assert make(scorer=scorer).auxiliary_loss is None
