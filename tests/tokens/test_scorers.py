"""Each scorer against its definition; all give (B, S, S) in [0, 1] without gradient."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage
from timm.models import VisionTransformer
from torch.nn import functional as F

from zoomexp.errors import InputError
from zoomexp.relevance.normalisation import min_max
from zoomexp.relevance.rollout import attention
from zoomexp.tokens.scorers.centre import Centre
from zoomexp.tokens.scorers.cls_attention import ClsAttention
from zoomexp.tokens.scorers.dqvae import DQVAE
from zoomexp.tokens.scorers.entropy import Entropy
from zoomexp.tokens.scorers.gradient_magnitude import GradientMagnitude
from zoomexp.tokens.scorers.grid import built, grey
from zoomexp.tokens.scorers.hpm import HPM
from zoomexp.tokens.scorers.inverted import Inverted
from zoomexp.tokens.scorers.random import Random
from zoomexp.tokens.scorers.shuffled import Shuffled
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.scorers.uniform import Uniform
from zoomexp.tokens.scorers.zoomer import ZoomerScores
from zoomexp.tokens.zoomer import Zoomer

SIZES = {"image_size": 64, "patch_size": 16}


def small_vit():
    torch.manual_seed(0)
    return VisionTransformer(img_size=64, patch_size=16, embed_dim=48, depth=2, num_heads=3, num_classes=5)


SCORERS = {
    "zoomer": ZoomerScores,
    "teacher": TeacherMaps,
    "cls_attention": lambda **sizes: ClsAttention(small_vit(), **sizes),
    "entropy": Entropy,
    "gradient_magnitude": GradientMagnitude,
    "centre": Centre,
    "random": Random,
    "inverted": partial(Inverted, Entropy),
    "shuffled": partial(Shuffled, Entropy),
    "uniform": Uniform,
    "dqvae": partial(DQVAE, width=16),
    "hpm": partial(HPM, width=64, depth=1),
}


def images(count=3, channels=3):
    return torch.randn(count, channels, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("training", [False, True])
def test_contract(name, training):
    torch.manual_seed(0)
    scorer = SCORERS[name](**SIZES).train(training)
    maps = torch.rand(3, 4, 4) if getattr(scorer, "needs_maps", False) else None
    scores = scorer(images(), maps)
    assert scores.shape == (3, 4, 4)
    assert not scores.requires_grad
    assert 0 <= scores.min() <= scores.max() <= 1
    copied = copy.deepcopy(scorer)
    if not training:
        again = [scorer.eval()(images(), maps), copied.eval()(images(), maps)]
        assert torch.equal(again[0], again[1])
        if name not in ("random", "shuffled"):
            alone = torch.cat(
                [scorer(images()[i : i + 1], None if maps is None else maps[i : i + 1]) for i in range(3)]
            )
            torch.testing.assert_close(alone, scores)


@pytest.mark.parametrize("name", SCORERS)
def test_sizes_that_do_not_divide_are_refused(name):
    with pytest.raises(InputError, match=r"tokens\.scorer\.image_size=72 must be a positive multiple of 16") as error:
        SCORERS[name](image_size=72, patch_size=16)
    assert "\n" not in str(error.value)


def test_zoomer_scores_are_the_checkpoints_and_stay_frozen(tmp_path):
    torch.manual_seed(0)
    zoomer = Zoomer(2, 64).eval()
    for buffer in zoomer.buffers():
        buffer.add_(1)
    state = {f"model.{name}": value for name, value in zoomer.state_dict().items()} | {"loss.weight": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "zoomer.ckpt")
    scorer = ZoomerScores(**SIZES, checkpoint=tmp_path / "zoomer.ckpt").train()
    with torch.no_grad():
        torch.testing.assert_close(scorer(images()), zoomer(images()))
    assert not any(p.requires_grad for p in scorer.parameters())
    assert not any(module.training for module in scorer.modules())
    for other in ({"blocks": 4}, {"image_size": 96}):
        with pytest.raises(
            InputError, match=r"checkpoint=.*zoomer\.ckpt: of another model; \d+ of \d+ tensors differ"
        ) as error:
            ZoomerScores(**(SIZES | other), checkpoint=tmp_path / "zoomer.ckpt")
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"checkpoint=.*: no such file"):
        ZoomerScores(**SIZES, checkpoint=tmp_path / "none.ckpt")


def test_a_zoomer_at_a_smaller_size_sees_a_resized_image_and_its_map_is_resized():
    torch.manual_seed(0)
    scorer = ZoomerScores(**SIZES, input_size=32)
    small = F.interpolate(images(), size=(32, 32), mode="bilinear", antialias=True)
    own = scorer.zoomer(small)
    assert own.shape == (3, 2, 2)
    torch.testing.assert_close(scorer(images()), F.interpolate(own[:, None], size=(4, 4), mode="bilinear")[:, 0])
    grey_image = images(channels=1)
    torch.testing.assert_close(scorer(grey_image), scorer(grey_image.repeat(1, 3, 1, 1)))


def test_teacher_maps_are_given_back():
    maps = 3 * torch.rand(2, 4, 4)
    x = images(2)
    assert torch.equal(TeacherMaps(**SIZES)(x, maps), min_max(maps))
    assert torch.equal(TeacherMaps(**SIZES, scale="given")(x, maps.half()), maps.half().float())
    larger = TeacherMaps(**SIZES, scale="given")(x, maps.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert larger.shape == (2, 4, 4)
    with pytest.raises(InputError, match=r"for each of 2 images, got \(3, 4, 4\)"):
        TeacherMaps(**SIZES)(x, torch.zeros(3, 4, 4))


def test_cls_attention_is_that_of_the_given_vit():
    vit = small_vit()
    expected = min_max(attention(vit, images(), torch.zeros(3, dtype=torch.int64), "mean"))
    scorer = ClsAttention(vit, **SIZES, layers="mean").train()
    torch.testing.assert_close(scorer(images()), expected)
    assert not any(p.requires_grad for p in scorer.parameters())
    assert not any(module.training for module in scorer.modules())


def test_entropy_is_shannons_by_numpy():
    x = images()
    scores = Entropy(**SIZES, bins=8)(x)
    level = grey(x).numpy()
    for b in range(3):
        for row in range(4):
            for column in range(4):
                patch = level[b, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                share = np.histogram(patch, bins=8, range=(0, 1))[0] / 256
                expected = -sum(p * math.log(p) for p in share if p) / math.log(8)
                assert abs(float(scores[b, row, column]) - expected) < 1e-5
    assert Entropy(**SIZES)(torch.ones(1, 3, 64, 64)).abs().max() == 0


def test_gradient_magnitude_is_scipys_sobel():
    x = images()
    level = grey(x).numpy()
    lengths = np.stack(
        [np.hypot(ndimage.sobel(g, 0, mode="nearest"), ndimage.sobel(g, 1, mode="nearest")) for g in level]
    )
    expected = min_max(torch.from_numpy(lengths).reshape(3, 4, 16, 4, 16).mean((2, 4)))
    torch.testing.assert_close(GradientMagnitude(**SIZES)(x), expected)


def test_centre_falls_from_1_to_0_by_hand():
    scores = Centre(image_size=48, patch_size=16)(torch.zeros(2, 3, 48, 48))
    side = 1 - 1 / math.sqrt(2)
    expected = torch.tensor([[0, side, 0], [side, 1, side], [0, side, 0]])
    torch.testing.assert_close(scores, expected.expand(2, -1, -1))


def test_random_is_fresh_in_training_and_starts_again_with_every_eval():
    scorer, x = Random(**SIZES, seed=1), images()
    torch.manual_seed(0)
    drawn = [scorer(x), scorer(x)]
    torch.manual_seed(0)
    assert torch.equal(drawn[0], torch.rand(3, 4, 4))
    assert not torch.equal(*drawn)
    state = torch.get_rng_state()
    runs = []
    for _ in range(2):
        scorer.eval()
        runs.append([scorer(x), scorer(x)])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.stack(runs[0]), torch.stack(runs[1]))
    assert not torch.equal(*runs[0])
    assert not torch.equal(Random(**SIZES, seed=2).eval()(x), runs[0][0])


def test_inverted_and_uniform():
    x, maps = images(), torch.rand(3, 4, 4)
    inverted = Inverted(partial(TeacherMaps, scale="given"), **SIZES)
    assert inverted.needs_maps
    assert torch.equal(inverted(x, maps), 1 - maps)
    assert not Inverted(Uniform(**SIZES), **SIZES).needs_maps
    assert torch.equal(Uniform(**SIZES)(x), torch.full((3, 4, 4), 0.5))


def test_built_gives_a_constructor_what_it_knows():
    assert built(Zoomerlike, image_size=64, patch_size=16, in_chans=1).facts == (64, 16, 1)
    assert built(Uniform, image_size=64, patch_size=16, in_chans=1).side == 4
    assert built(partial(Random, seed=3), image_size=64, patch_size=16, in_chans=1).seed == 3


class Zoomerlike:
    def __init__(self, *, image_size, patch_size, in_chans):
        self.facts = (image_size, patch_size, in_chans)
