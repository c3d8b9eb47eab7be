"""What no token-reduction method takes: arguments out of range, other hosts, other images."""

import pytest
import torch
from hydra.utils import get_object

from zoomexp.errors import InputError
from zoomexp.tokens.tome import tome

KEEPING = ("evit", "topk", "random", "dynamicvit", "evo_vit", "spvit")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *[(n, {"keep_rate": 0}, r"keep_rate=0 must be a number in \(0, 1\]") for n in KEEPING],
        *[(n, {"keep_rate": 1.1}, r"keep_rate=1\.1 must be a number in \(0, 1\]") for n in KEEPING],
        ("evit", {"keep_rate": True}, r"keep_rate=True must be a number in \(0, 1\]"),
        ("evit", {"keep_rate": float("nan")}, r"keep_rate=nan must be a number in \(0, 1\]"),
        *[
            (n, {"locations": [1, 4]}, r"locations must be different blocks in 0\.\.3, got \[1, 4\]")
            for n in (*KEEPING, "ats")
        ],
        ("evit", {}, r"locations must be different blocks in 0\.\.3, got \[3, 6, 9\]"),
        ("evit", {"locations": [1, 1]}, r"locations must be different blocks in 0\.\.3, got \[1, 1\]"),
        ("evit", {"locations": 1}, r"locations must be different blocks in 0\.\.3, got 1"),
        *[(n, {"r": -1}, r"r=-1 must be a whole number, at least 0") for n in ("tome", "tofu")],
        *[(n, {"r": 2.5}, r"r=2\.5 must be a whole number, at least 0") for n in ("tome", "tofu")],
        ("tome", {"r": [1, 2, 3]}, r"r must be a whole number or a list of 4, one per block, got 3"),
        ("tome", {"r": [1, 2, 3, -4]}, r"r=-4 must be a whole number, at least 0"),
        ("tofu", {"prune_blocks": 5}, r"prune_blocks=5 must be a whole number in 0\.\.4"),
        (
            "dynamicvit",
            {"ratio_weight": -1, "locations": [1]},
            r"ratio_weight=-1 must be a finite number, at least 0",
        ),
        ("pitome", {"keep_rate": 0.4}, r"keep_rate=0\.4 must be a number in \[0\.5, 1\]"),
        ("pitome", {"margin": 2}, r"margin=2 must be a number in \[-1, 1\]"),
        ("pitome", {"bsm_blocks": 6}, r"bsm_blocks=6 must be one of first, last, none, all"),
        ("ats", {"samples": 0}, r"samples=0 must be a whole number, at least 1"),
        ("ats", {"order": "size"}, r"order='size' must be one of place, score"),
        ("diffrate", {"prune": -1}, r"prune=-1 must be a whole number, at least 0"),
        ("diffrate", {"merge": 1.5}, r"merge=1\.5 must be a whole number, at least 0"),
        ("random", {"seed": -1, "locations": [1]}, r"seed=-1 must be a whole number, at least 0"),
        *[(n, {"image_size": 50}, r"image_size=50 must be a positive multiple of 8") for n in ("tome", "diffrate")],
    ],
)
def test_arguments_that_are_refused(small_vit, name, options, message):
    with pytest.raises(InputError, match=rf"^(tokens|dataset)\.{message}$"):
        get_object(f"zoomexp.tokens.{name}.{name}")(small_vit(), **({"image_size": 48} | options))


def test_images_and_patches_that_are_refused(small_vit):
    with pytest.raises(InputError, match=r"^tokens: images must be \(B, 3, 48, 48\), got \(1, 3, 48, 56\)$"):
        tome(small_vit(), image_size=48)(torch.zeros(1, 3, 48, 56))
    with pytest.raises(InputError, match=r"^tokens: the host's patches must be square, got 8 x 16$"):
        tome(small_vit(patch_size=(8, 16)), image_size=48)
