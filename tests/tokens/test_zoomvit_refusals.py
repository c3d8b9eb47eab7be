"""What ZoomViT refuses, each time in one line."""

from functools import partial

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn

from zoomexp.errors import InputError
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.scorers.uniform import Uniform
from zoomexp.tokens.zoomvit import ZoomViT

SIZE, PATCH = 64, 8
TINY = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 10}


def make(vit=None, **options):
    vit = vit or VisionTransformer(**TINY)
    return ZoomViT(vit, **({"scorer": partial(TeacherMaps, scale="given"), "image_size": SIZE} | options)).eval()


RELEASED = {"mode": "paper", "coverage": "paper", "positions": "sinusoid_1d", "zfe": "fixed"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.2}, r"tokens\.alpha=1\.2 must be a number in \[0, 1\]"),
        ({"eta": 3}, r"tokens\.eta=3 must be one of 0\.5, 2"),
        ({"coverage": "all"}, r"tokens\.coverage='all' must be one of cell, paper"),
        ({"positions": "rope"}, r"tokens\.positions='rope' must be one of learned, sinusoid_1d, sinusoid_2d"),
        ({"zfe": "hard"}, r"tokens\.zfe='hard' must be one of soft, fixed, none"),
        ({"zfe_direction": "up"}, r"tokens\.zfe_direction='up' must be one of ones, learned"),
        ({"mode": "dense"}, r"tokens\.mode='dense' must be one of ragged, padded, paper"),
        (
            {"omega": 0.2, "zfe": "fixed"},
            r"tokens\.omega=0\.2: zfe=fixed has no steepness; choose tokens\.zfe=soft, or",
        ),
        ({"zfe_direction": "learned", "zfe": "none"}, r"tokens\.zfe_direction=learned: zfe=none has no direction"),
        ({"prune_order": "forward"}, r"tokens\.prune_order=forward: nothing is pruned; choose a tokens\.pruning"),
        ({"prune_group": "zoomed"}, r"tokens\.prune_group=zoomed: nothing is pruned; choose a tokens\.pruning"),
        ({"omega": -1}, r"tokens\.omega=-1 must be a finite number, at least 0"),
        ({"omega": float("inf")}, r"tokens\.omega=inf must be a finite number"),
        ({"budget": 17}, r"tokens\.budget=17 must be a whole number in 0\.\.16"),
        ({"budget": 3, "coverage": "paper"}, r"tokens\.budget needs coverage=cell"),
        (
            {"budget": 3, "pruning": "match_alpha", "prune_alpha": 0.1},
            r"tokens\.budget needs .* no pruning=match_alpha",
        ),
        ({"pruning": "half"}, r"tokens\.pruning='half' must be one of none, top_n, match_alpha"),
        ({"pruning": "top_n"}, r"tokens\.prune_n=None must be a whole number, at least 0"),
        (
            {"pruning": "top_n", "prune_n": 2, "prune_order": "up"},
            r"tokens\.prune_order='up' must be one of backward, forward",
        ),
        (
            {"pruning": "top_n", "prune_n": 2, "prune_group": "fine"},
            r"tokens\.prune_group='fine' must be one of all, zoomed",
        ),
        ({"pruning": "match_alpha"}, r"tokens\.prune_alpha=None must be a number in \[0, 1\]"),
        ({"prune_n": 2}, r"tokens\.prune_n must be null unless tokens\.pruning=top_n, got 2"),
        ({"image_size": 72}, r"dataset\.image_size must be a multiple of 16 at eta=0\.5, got 72"),
        ({"image_size": 60, "eta": 2}, r"dataset\.image_size must be a multiple of 8 at eta=2, got 60"),
        (RELEASED | {"zfe": "soft"}, r"tokens\.mode=paper .* needs coverage=paper, .*, zfe=fixed, got zfe=soft"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(InputError, match=f"^{message}") as error:
        make(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("vit", "arguments", "message"),
    [
        (nn.Linear(2, 2), {}, "tokens: the backbone must be a VisionTransformer of timm"),
        (
            VisionTransformer(**(TINY | {"pos_embed": "none"})),
            {},
            "positions=learned: the host has none",
        ),
        (
            VisionTransformer(**(TINY | {"img_size": 63, "patch_size": 7})),
            {"eta": 2, "image_size": 63},
            "square and even",
        ),
        (VisionTransformer(**(TINY | {"embed_dim": 54})), {"positions": "sinusoid_2d"}, "must divide by 4, got 54"),
    ],
)
def test_refused_hosts(vit, arguments, message):
    with pytest.raises(InputError, match=message):
        make(vit, **arguments)


@pytest.mark.parametrize(
    ("images", "maps", "message"),
    [
        (torch.zeros(2, 3, 32, 32), torch.zeros(2, 8, 8), r"images must be \(B, 3, 64, 64\), got \(2, 3, 32, 32\)"),
        (torch.zeros(2, 1, 64, 64), torch.zeros(2, 8, 8), r"images must be \(B, 3, 64, 64\)"),
        (torch.zeros(2, 3, 64, 64), None, r"the teacher needs a map \(S, S\) for each of 2 images, got None"),
    ],
)
def test_refused_batches(images, maps, message):
    with pytest.raises(InputError, match=message):
        make()(images, maps)


def test_a_scorer_of_another_grid_is_refused():
    other = Uniform(image_size=SIZE, patch_size=16)
    with pytest.raises(InputError, match=r"scorer: scores must be \(B, 8, 8\), one score per patch, got \(2, 4, 4\)"):
        make(scorer=other)(torch.zeros(2, 3, SIZE, SIZE))
