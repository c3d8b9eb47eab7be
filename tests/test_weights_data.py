"""Pretrained weights are shown images as they were trained on them, unless the user says otherwise."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.loader import ArrayLoader
from zoomexp.datasets.picture import Picture
from zoomexp.datasets.views import CentralView

CONFIGS = Path(__file__).parents[1] / "configs"


def dataset(*overrides: str):
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return compose("train", overrides=list(overrides)).dataset


def view(*overrides: str) -> tuple:
    node = dataset(*overrides)
    return tuple(node.mean), tuple(node.std), node.get("crop_pct"), node.interpolation


PLAIN = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875, "bilinear")


@pytest.mark.parametrize("name", ["vit_small_patch16_224.augreg_in21k_ft_in1k", "deit_small_patch16_224", "resnet50"])
def test_the_weights_own(name):
    words = ["dataset=imagenet", "backbone=timm", f"backbone.name={name}", "backbone.image_size=224"]
    known = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    found = view(*words, "backbone.pretrained=true")
    assert found == (known["mean"], known["std"], known["crop_pct"], known["interpolation"])
    assert view(*words, "backbone.pretrained=false") == PLAIN


def test_augreg_wants_a_half_and_bicubic():
    words = ["dataset=imagenet", "backbone=timm", "backbone.name=vit_small_patch16_224", "backbone.pretrained=true"]
    assert view(*words) == ((0.5,) * 3, (0.5,) * 3, 0.9, "bicubic")


def test_what_is_typed_wins():
    words = ["dataset=imagenet", "backbone=timm", "backbone.name=vit_small_patch16_224", "backbone.pretrained=true"]
    typed = ["dataset.mean=[0.1,0.2,0.3]", "dataset.crop_pct=1.0", "dataset.interpolation=bilinear"]
    assert view(*words, *typed) == ((0.1, 0.2, 0.3), (0.5,) * 3, 1.0, "bilinear")


def test_sets_in_memory_follow_too():
    words = ["backbone=timm", "backbone.name=vit_small_patch16_224", "backbone.pretrained=true"]
    assert view("dataset=cifar10", *words) == ((0.5,) * 3, (0.5,) * 3, None, "bicubic")
    assert view("dataset=mnist", *words) == ((0.5,), (0.5,), None, "bicubic")
    assert view("dataset=mnist", "backbone=resnet20") == ((0.1307,), (0.3081,), None, "bilinear")


def test_a_name_that_timm_does_not_know_is_refused_later():
    assert view("dataset=imagenet", "backbone=timm", "backbone.name=nowhere", "backbone.pretrained=true") == PLAIN


@pytest.mark.parametrize(
    ("kind", "resampling"), [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)]
)
def test_images_are_resized_as_asked(kind, resampling):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    found, _ = CentralView(16, 1.0, interpolation=kind)(Picture(image, "a.png"))
    assert np.array_equal(found, np.asarray(image.resize((16, 16), resampling)))
    loader = ArrayLoader(ImageArrays(pixels[None], np.zeros(1, np.int64)), batch_size=1, mean=[0, 0, 0], std=[1, 1, 1],
                         image_size=64, interpolation=kind)  # fmt: skip
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    expected = torch.nn.functional.interpolate(whole, size=(64, 64), mode=kind)
    torch.testing.assert_close(next(iter(loader))["image"], expected)
