"""Every option of every file of every group does something: another value gives another outcome, or is refused.

What comes of a config is described as a whole (see `behaviour`) before and after one option is given another value.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from tests import config_files
from tests.configs.behaviour import OF
from tests.configs.other_values import ELSEWHERE, GIVEN, OF_CHOICE, OTHER, WITH
from tests.configs.served import served
from zoomexp.decoders.pyramid import PACKAGE
from zoomexp.errors import InputError
from zoomexp.weights_data import install

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
SURROUNDINGS = {
    "seed": 0, "data_dir": "nowhere", "output_dir": "out", "backbone": {"image_size": None},
    "dataset": {"image_size": "${backbone.image_size}", "mean": [0.5], "std": [0.25]},
    "needs": {"teacher": "t", "zoomer": "z", "network": "n"},
    "trainer": {"max_epochs": 8},
}  # fmt: skip
SHIFTS = ("imagenet_a", "imagenet_r", "imagenet_real", "imagenet_sketch", "imagenet_v2")
TESTED = ("cub200", "imagenet", "oxford_pet", *SHIFTS, "visa")  # come with a test split
LIKE_IMAGE_FOLDER = [
    ("dataset", name)
    for name in ("csv", "cub200", "elpv", "huggingface", "imagenet", "oxford_pet", "visa", *SHIFTS[1:])
]
SMP = ("fpn", "unet", "upernet")
OWN_SIZE = ("coco", "digit_masks", "digit_scenes")
SMALL = {"batch_size": 5, "eval_batch_size": 7, "image_size": 20}  # of 24 images
MAPS = {"_target_": "zoomexp.tokens.scorers.teacher.TeacherMaps", "_partial_": True, "scale": "given"}


def loaded(group: str, choice: str) -> dict[str, Any]:
    """A config file with what it builds on, its interpolations as they stand there."""
    return config_files.loaded(CONFIGS / group / f"{choice}.yaml")


def leaves(node: Mapping[str, Any], path: str) -> list[str]:
    """The dotted names of all options that have no options of their own."""
    found = []
    for name, value in node.items():
        if not name.startswith("_"):
            inner = isinstance(value, Mapping) and value
            found += leaves(value, f"{path}.{name}") if inner else [f"{path}.{name}"]
    return found


def cases() -> list[Any]:
    """(group, choice, option); of data sets of files, which share their options, one runs always."""
    return [
        pytest.param(group, file.stem, key, marks=pytest.mark.slow if (group, file.stem) in LIKE_IMAGE_FOLDER else ())
        for group in OF
        for file in sorted((CONFIGS / group).glob("*.yaml"))
        for key in leaves(loaded(group, file.stem), group.replace("/", "."))
        if key not in ELSEWHERE and f"{file.stem}: {key}" not in ELSEWHERE
    ]


def composed(group: str, choice: str, changed: Mapping[str, Any]) -> Any:
    """The config of one choice, fitted to what stands in for networks and images, with options changed."""
    path, node = group.replace("/", "."), loaded(group, choice)
    cfg = OmegaConf.create(SURROUNDINGS)
    OmegaConf.update(cfg, path, node, force_add=True, merge=False)
    given = {**GIVEN.get(group, {}), **GIVEN.get(f"{group}={choice}", {})} if node else {}
    if group == "dataset":
        given = {**{name: value for name, value in SMALL.items() if name in node}, **given}
    if choice in ("zoomvit", "zoomvit_fixed", "zoomvit_paper", "fusion"):
        given["scorer"] = MAPS
    for name, value in {**{f"{path}.{name}": value for name, value in given.items()}, **changed}.items():
        OmegaConf.update(cfg, name, value, force_add=True, merge=False)
    return cfg


def another(key: str, choice: str, value: Any) -> Any:
    """A value that is not this one."""
    if (choice, key) in OF_CHOICE:
        return OF_CHOICE[choice, key]
    if key in OTHER and OTHER[key] != value:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.1
    if isinstance(value, list) and value and isinstance(value[0], float):
        return [one / 2 for one in value]
    return f"{value}x"


class Asked(nn.Module):
    """Takes the place of what timm would build, or a run would have left, and knows what was asked for."""

    def __init__(self, *asked: Any, **options: Any) -> None:
        super().__init__()
        self.asked = asked, sorted(options.items())
        self.drop_path, self.num_classes, self.start_weights = nn.Identity(), 10, None
        self.pretrained_cfg = {"architecture": asked[0], "tag": "", "num_classes": 10}


@pytest.fixture(autouse=True)
def resolvers():
    install()


def outcome(group: str, choice: str, cfg: Any, key: str = "") -> Any:
    """What comes of the group in a config; what is refused comes as the line that says so."""
    torch.manual_seed(0)
    try:
        node = OmegaConf.select(cfg, group.replace("/", "."))
        made = instantiate(node, _convert_="all")
        if group == "dataset":
            return served(
                made, bad=key == "dataset.on_bad_image", tested=choice in TESTED or key != "dataset.test_fraction"
            )
        with pytest.MonkeyPatch.context() as patch:
            if group == "backbone" and choice != "vit_digits":
                patch.setattr("timm.create_model", Asked)
            patch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: None)
            patch.setattr("zoomexp.backbones.trained.restored", Asked)
            patch.setattr(
                "zoomexp.backbones.trained.finished_facts", lambda *_: {"shape": {"num_classes": 10, "image_size": 32}}
            )
            found = OF[group](made)
        return [found, cfg.dataset.image_size]
    except (InputError, InstantiationException) as error:
        return f"refused: {error}"


@cache
def as_shipped(group: str, choice: str, base: str, key: str) -> Any:
    """The outcome of a file as it is, but for the options of `base` (JSON)."""
    return outcome(group, choice, composed(group, choice, json.loads(base)), key)


@pytest.mark.parametrize(("group", "choice", "key"), cases())
def test_another_value_is_another_outcome(group, choice, key):
    base = {f"{group}.{name}": value for name, value in WITH.get(f"{choice}: {key}", WITH.get(key, {})).items()}
    plain = composed(group, choice, base)
    value = OmegaConf.select(plain, key)
    changed = another(key, choice, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
    special = key if key in ("dataset.on_bad_image", "dataset.test_fraction") else ""
    if group == "decoder" and choice in SMP and find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} is not installed: the extra `segmentation`")
    before = as_shipped(group, choice, json.dumps(base), special)
    after = outcome(group, choice, composed(group, choice, {**base, key: changed}), special)
    if isinstance(before, str):
        assert special == "dataset.on_bad_image", before
    if isinstance(after, str):
        assert key.rpartition(".")[2] in after, f"refused for another reason: {after}"
    assert after != before, f"{key}={changed} gives what {key}={value} gives"


def test_what_is_described_is_the_same_twice():
    """Else any two outcomes would differ."""
    for group in OF:
        for file in [file for file in sorted((CONFIGS / group).glob("*.yaml")) if loaded(group, file.stem)][:4]:
            one, other = (outcome(group, file.stem, composed(group, file.stem, {})) for _ in range(2))
            assert one == other, (group, file.stem)


def test_what_acts_elsewhere_is_an_option_and_has_a_test():
    known = {(file.stem, key) for group in OF for file in (CONFIGS / group).glob("*.yaml")
             for key in leaves(loaded(group, file.stem), group.replace("/", "."))}  # fmt: skip
    for name, test in ELSEWHERE.items():
        choice, _, key = name.rpartition(": ")
        assert any(key == other and choice in ("", stem) for stem, other in known), name
        file, _, function = test.partition("::")
        assert f"\ndef {function}(" in (ROOT / file).read_text(), test


@pytest.mark.parametrize("file", sorted((CONFIGS / "dataset").glob("*.yaml")), ids=lambda file: file.stem)
def test_images_have_the_backbones_size(file):
    node = config_files.loaded(file)
    assert node.get("image_size", "none") == "${backbone.image_size}" or file.stem in OWN_SIZE
