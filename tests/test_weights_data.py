"""Pretrained weights are shown images as they were trained on them, unless the user says otherwise."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image

from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.loader import ArrayLoader
from zoomexp.datasets.picture import Picture
from zoomexp.datasets.views import CentralView
from zoomexp.run.compose import compose_run

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


@pytest.mark.parametrize("config", [{"pretrained_cfg": {"mean": [0.1] * 3, "crop_pct": 1.0}}, {"std": [0.3] * 3}])
def test_weights_of_a_folder_are_timms_own_but_for_what_stands_beside_them(tmp_path, config):
    words = ["dataset=imagenet", "backbone=timm", "backbone.name=vit_small_patch16_224", f"backbone.weights={tmp_path}"]
    assert view(*words) == ((0.5,) * 3, (0.5,) * 3, 0.9, "bicubic")
    (tmp_path / "config.json").write_text(json.dumps(config))
    said = config.get("pretrained_cfg", config)
    expected = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9} | said
    assert view(*words) == (tuple(expected["mean"]), tuple(expected["std"]), expected["crop_pct"], "bicubic")


def test_an_interpolation_that_is_unknown_here_is_left_to_the_data_set(tmp_path):
    (tmp_path / "config.json").write_text('{"interpolation": "lanczos", "crop_pct": 0.8}')
    found = view("dataset=imagenet", "backbone=resnet20", f"backbone.weights={tmp_path}")
    assert found == (*PLAIN[:2], 0.8, "bilinear")


BEGUN = ["backbone=timm", "backbone.name=vit_small_patch16_224", "dataset=imagenet", "logger=none"]


@pytest.mark.parametrize(("pretrained", "expected"), [("true", (0.5,) * 3), ("false", PLAIN[0])])
def test_a_trained_network_goes_on_as_its_run_began(tmp_path, pretrained, expected):
    GlobalHydra.instance().clear()
    outputs = f"output_dir={tmp_path}"
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        needed = ",".join(f"'{word}'" for word in [*BEGUN, f"backbone.pretrained={pretrained}"])
        planned = compose_run(["backbone=trained", f"+needs.network=[{needed}]", "dataset=image_folder", outputs])
    assert tuple(planned.cfg.dataset.mean) == expected
    (need,) = planned.used
    need.folder.mkdir(parents=True)
    (need.folder / "config.yaml").write_text(OmegaConf.to_yaml(need.cfg, resolve=True))
    words = ["dataset=image_folder", "backbone=trained", f"backbone.run={need.folder}"]
    assert view(*words)[0] == expected
    assert view(*words, "dataset.mean=[0.1,0.2,0.3]")[0] == (0.1, 0.2, 0.3)
    assert view("dataset=image_folder", "backbone=trained", "backbone.run=nowhere") == PLAIN


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
