"""Position tables and the zoom factor embedding against their equations."""

import math

import pytest
import torch
from timm.layers import build_sincos2d_pos_embed, resample_abs_pos_embed
from timm.models import VisionTransformer

from zoomexp.tokens import host
from zoomexp.tokens.positions import Positions, sinusoid_1d, sinusoid_2d
from zoomexp.tokens.zoom_embedding import zoom_embedding

SIDE, WIDTH = 3, 8


def make(side=SIDE, **options):
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=8 * side, patch_size=8, embed_dim=WIDTH, depth=1, num_heads=2, **options)
    for parameter in vit.parameters():
        parameter.data.normal_()
    return vit


def test_sinusoid_1d_is_the_written_out_formula():
    table = sinusoid_1d(50, WIDTH)
    for place in range(50):
        for k in range(WIDTH // 2):
            angle = place / 10000 ** (k / (WIDTH / 2))
            assert abs(float(table[place, 2 * k]) - math.sin(angle)) < 1e-5
            assert abs(float(table[place, 2 * k + 1]) - math.cos(angle)) < 1e-5


def test_sinusoid_1d_gives_the_class_token_place_0_and_patches_their_raster_index():
    vit = make(reg_tokens=2)
    expected_prefix = torch.cat([vit.cls_token, vit.reg_token], 1) + sinusoid_1d(1, WIDTH)
    positions = Positions(vit, "sinusoid_1d", SIDE)
    assert vit.pos_embed is None
    torch.testing.assert_close(positions.prefix(vit, 2), expected_prefix.expand(2, -1, -1))
    candidates, table = positions.candidates(vit), sinusoid_1d(37, WIDTH)
    for cell in range(SIDE**2):
        row, column = divmod(cell, SIDE)
        torch.testing.assert_close(candidates[36 + cell], table[1 + cell])
        for j in range(4):
            raster = (2 * row + j // 2) * 2 * SIDE + 2 * column + j % 2
            torch.testing.assert_close(candidates[4 * cell + j], table[1 + raster])


def test_sinusoid_2d_is_timms_on_the_coarse_grid_and_fine_patches_stand_at_their_centres():
    coarse, fine = sinusoid_2d(SIDE, WIDTH)
    torch.testing.assert_close(coarse, build_sincos2d_pos_embed([SIDE, SIDE], WIDTH))
    for row in range(2 * SIDE):
        for column in range(2 * SIDE):
            for k in range(WIDTH // 4):
                for half, place in ((0, row), (WIDTH // 4, column)):
                    angle = ((place + 0.5) / 2 - 0.5) / 10000 ** (k / (WIDTH // 4))
                    vector = fine[row * 2 * SIDE + column]
                    assert abs(float(vector[half + k]) - math.sin(angle)) < 1e-6
                    assert abs(float(vector[half + WIDTH // 2 + k]) - math.cos(angle)) < 1e-6


@pytest.mark.parametrize(
    "options", [{}, {"no_embed_class": True}, {"reg_tokens": 2}, {"class_token": False, "global_pool": "avg"}]
)
@pytest.mark.parametrize("side", [2, 3, 4])
def test_learned_positions_are_the_hosts_resampled_to_both_grids(options, side):
    vit = make(**options)
    positions = Positions(vit, "learned", side)
    table = vit.pos_embed[:, 0 if vit.no_embed_class else vit.num_prefix_tokens :]
    fine, coarse = (resample_abs_pos_embed(table, [n, n], [SIDE, SIDE], 0)[0] for n in (2 * side, side))
    candidates = positions.candidates(vit)
    torch.testing.assert_close(candidates[: 4 * side**2], fine[positions.raster])
    torch.testing.assert_close(candidates[4 * side**2 :], coarse)
    torch.testing.assert_close(positions.prefix(vit, 2), host.prefix(vit, 2))
    candidates.sum().backward()
    assert vit.pos_embed.grad.abs().sum() > 0


def test_soft_embedding_is_equation_6():
    rank, zoomed = torch.arange(12), torch.tensor([4] * 6 + [9] * 6)
    values = zoom_embedding("soft", rank, zoomed, omega=0.3)
    for value, r, n in zip(values.tolist(), rank.tolist(), zoomed.tolist(), strict=True):
        assert abs(value - (1 - 1 / (1 + math.exp(0.3 * (n - r))))) < 1e-6


def test_soft_embedding_grows_into_the_fixed_one_but_for_the_first_coarse_token():
    rank, zoomed = torch.arange(10), torch.full((10,), 4)
    soft, fixed = (zoom_embedding(kind, rank, zoomed, omega=1000.0) for kind in ("soft", "fixed"))
    assert fixed.tolist() == [1.0] * 4 + [0.0] * 6
    assert soft[4] == 0.5
    other = rank != 4
    torch.testing.assert_close(soft[other], fixed[other])
    assert zoom_embedding("none", rank, zoomed, omega=1.0) is None
