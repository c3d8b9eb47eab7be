"""Every file under configs/ composes, resolves, and names things that exist and can be built."""

import inspect
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from zoomexp.errors import InputError
from zoomexp.model import build_model

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(path.relative_to(CONFIGS).with_suffix("") for path in CONFIGS.rglob("*.yaml"))
# Not the root, not what others build on, and not the papers' tables, which are data and have tests of their own.
CHOICES = [
    str(path) for path in FILES if len(path.parts) > 1 and path.parts[0] != "table" and "shared" not in path.parts
]
GROUPS = {path.split("/")[0] for path in CHOICES}
NEEDED = {"backbone/timm": ["backbone.name=resnet18"]}  # what a choice asks its user for
TEACHER = ["+needs.teacher=a_run_folder"]
ATTENTION = sorted(path.stem for path in (CONFIGS / "attention").glob("*.yaml"))
INSERTION = sorted(path.stem for path in (CONFIGS / "insertion").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def hydra_configs():
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        yield


@cache
def composed_once(*overrides: str) -> DictConfig:
    return compose("train", overrides=list(overrides), return_hydra_config=True)


def composed(overrides: list[str]) -> DictConfig:
    """The config of these overrides, which the test may change; with Hydra's own part."""
    return composed_once(*overrides).copy()


def without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def overrides_of(choice: str) -> list[str]:
    if choice.startswith("trainer/final/"):  # follows the trainer of that name
        return [f"trainer={Path(choice).stem}"]
    group, name = choice.split("/", 1)
    value = f"[default,{name}]" if group == "callbacks" and name != "default" else name
    if choice.startswith(("tokens/zoomvit", "tokens/fusion")):
        return [f"tokens={name}", "+needs.zoomer=a_run_folder"]
    if choice.startswith("tokens/scorer/"):
        needs = "{zoomer: a_run_folder, teacher: a_run_folder}"
        return ["tokens=zoomvit", f"tokens/scorer={Path(choice).stem}", f"+needs={needs}"]
    if choice == "backbone/trained":
        return ["backbone=trained", "+needs.network=a_run_folder"]
    needed = TEACHER if group == "relevance" and name != "none" else NEEDED.get(choice, [])
    return [f"{group}={value}", *needed]


def targets(node, path="") -> list[tuple[str, DictConfig]]:
    """Every node with a target, and where it is."""
    found = [(path, node)] if isinstance(node, DictConfig) and "_target_" in node else []
    if isinstance(node, DictConfig):
        children = [(f"{path}.{key}", node[key]) for key in node]
    elif isinstance(node, ListConfig):
        children = [(f"{path}[{i}]", child) for i, child in enumerate(node)]
    else:
        children = []
    return found + [pair for name, child in children for pair in targets(child, name)]


def test_the_files_are_found():
    others = sum(1 for pattern in ("table/**/*.yaml", "*/shared/*.yaml", "*.yaml") for _ in CONFIGS.glob(pattern))
    assert len(CHOICES) == sum(1 for _ in CONFIGS.rglob("*.yaml")) - others
    assert {
        "dataset", "backbone", "attention", "insertion", "loss", "optimizer", "scheduler", "task", "trainer", "logger",
        "callbacks", "experiment", "sweep",
    } <= GROUPS  # fmt: skip
    modules = {path.stem for path in (CONFIGS.parent / "zoomexp" / "attention").glob("*.py")}
    assert set(ATTENTION) - {"none", "timm"} <= modules  # timm: from_timm.py
    assert len(CHOICES) == len(set(CHOICES)) >= 60


# What the recipe of a host decides, for data sets and trainers that are chosen without one.
OF_RECIPES = {("dataset", "batch_size"), ("trainer", "max_epochs"), ("trainer", "gradient_clip_val")}


def stated(choice: str) -> dict[tuple[str, ...], object]:
    """What a file says by itself, by the keys that lead to it in a whole config."""
    file = CONFIGS / f"{choice}.yaml"
    node = OmegaConf.to_container(OmegaConf.load(file))
    first = () if "# @package _global_" in file.read_text() else tuple(choice.split("/")[:-1])
    found = leaves({key: value for key, value in node.items() if key not in ("defaults", "hydra")})
    decided = OF_RECIPES if first in (("dataset",), ("trainer",)) else set()
    return {(*first, *key): value for key, value in found.items() if (*first, *key) not in decided and value != "???"}


def leaves(node: dict, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    found = {}
    for key, value in node.items():
        found |= leaves(value, (*path, key)) if isinstance(value, dict) and value else {(*path, key): value}
    return found


def at(config: DictConfig, key: tuple[str, ...]) -> object:
    """A value as it stands in a config, interpolations as they are written."""
    node = OmegaConf.to_container(config)
    for name in key:
        node = node[name]
    return node


OURS = {".trainer": {"graph", "on_oom", "flush_denormal"}}  # taken out before Lightning sees the options


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_its_targets_take_its_keys(choice):
    config = without_hydra(composed(overrides_of(choice)))
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    for key, value in stated(choice).items():
        assert at(config, key) == value, f"{'.'.join(key)}={value} has no effect"
    for path, node in targets(config):
        known = inspect.signature(get_object(node["_target_"])).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            unknown = {key for key in node if not key.startswith("_")} - set(known) - OURS.get(path, set())
            assert not unknown, f"{path}: {node['_target_']} does not take {unknown}"


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.split("/")[0] not in ("experiment", "sweep", "trainer")])
def test_every_choice_builds_what_it_names(choice):
    """Backbones and data sets, which are large, are left as what builds them."""
    config = composed(overrides_of(choice))
    group = choice.split("/")[0]
    if group == "insertion":
        assert set(config.insertion) == {"at"}
        return
    if group == "relevance" and config.relevance:
        assert config.relevance.teacher.run == "a_run_folder"
        config.relevance.teacher = None  # there is none
    if choice == "tokens/scorer/cls_attention":
        assert config.tokens.scorer.vit.run == "a_run_folder"
        config.tokens.scorer.vit = None  # there is none
    built = instantiate(config[group])
    assert built is not None
    if config[group].get("_partial_"):
        assert callable(built)
        assert {key for key in config[group] if not key.startswith("_")} == set(built.keywords)


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.split("/")[0] in ("experiment", "sweep")])
def test_the_command_in_the_first_lines_composes(choice):
    lines = (CONFIGS / f"{choice}.yaml").read_text().splitlines()[:4]
    commands = [line.removeprefix("# python train.py ") for line in lines if line.startswith("# python train.py ")]
    assert len(commands) == 1, "the first lines say how the file is used"
    words = [word for word in commands[0].split() if word != "-m"]
    assert words[0] == "=".join(choice.split("/", 1))
    config = composed(words)
    if choice.startswith("sweep/"):
        assert "-m" in commands[0].split()
        assert config.hydra.mode.name == "MULTIRUN"
        asked = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
        for override in OverridesParser.create().parse_overrides(asked):
            values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
            assert values == [str(v) for v in dict.fromkeys(map(str, values))]


@pytest.mark.parametrize("experiment", [c for c in CHOICES if c.startswith("experiment/")])
def test_the_smoke_trainer_shrinks_every_experiment(experiment):
    config = compose("train", overrides=[experiment.replace("/", "=", 1), "trainer=smoke"])
    assert (config.dataset.batch_size, config.dataset.eval_batch_size, config.trainer.max_steps) == (4, 2, 2)
    assert config.optimizer.lr == 1e-5
    assert {config.trainer[f"limit_{part}_batches"] for part in ("train", "val", "test")} == {2}
    larger = compose("train", overrides=[experiment.replace("/", "=", 1), "trainer=smoke", "dataset.batch_size=8"])
    assert larger.dataset.batch_size == 8


@pytest.mark.parametrize("attention", ATTENTION)
def test_every_attention_stands_at_every_place_of_resnet20(attention):
    module = instantiate(composed([f"attention={attention}"]).attention) or None
    side = 4 if attention == "attzoom" else 16  # it doubles the sides at each place, nine times between blocks
    for insertion in INSERTION:
        config = composed([f"insertion={insertion}"])

        def build(config=config):
            return build_model(
                instantiate(config.backbone), num_classes=10, in_chans=1, image_size=side,
                attention=module, at=config.insertion.at,
            )  # fmt: skip

        if insertion == "stage4" and attention != "none":
            with pytest.raises(InputError, match=r"insertion\.at=stage4: no site 'stage4'"):
                build()
            continue
        if insertion == "within_blocks" and attention == "attzoom":  # the shortcut keeps the size that it changes
            with pytest.raises(InputError, match=r"insertion\.at: ResNet20 cannot run with AttZoom"):
                build()
            continue
        net = build()
        assert bool(net.insertion_sites) is (attention != "none")
        assert net(torch.randn(2, 1, side, side)).shape == (2, 10)


def test_the_root_lists_every_group_in_order():
    root = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    listed = [next(iter(entry)) for entry in root["defaults"] if isinstance(entry, dict)]
    order = ["dataset", "relevance", "loss", "mixing", "optimizer", "scheduler", "trainer", "callbacks"]
    order += ["recipe", "backbone", "attention", "insertion", "tokens"]  # these may choose among those before them
    order += ["detector", "decoder", "head", "task"]
    assert [name for name in listed if name in order] == order
    assert {name for name in listed if not re.match("override |optional ", name)} == GROUPS
