"""Every row of every table is built at every scale, the runs that it needs too; on the meta device, without data.

Weights, images and finished runs have stand-ins: what is checked is that the parts of a row fit together and that
nothing in its schedule, its trainer or its weights keeps it from running.

At once go rows in which every choice of a config group that a table makes and the schedule of every scale occur; all
the others are slow. There, a scale that names no experiment leaves the networks of its rows as they are, so that of
rows with the same schedule, data and weights, which differ in their module alone, one is built.
"""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from zoomexp.backbones.start_weights import StartWeights, check_weights
from zoomexp.decoders.pyramid import PACKAGE
from zoomexp.results.table import SCALES, Row, Table, load_tables
from zoomexp.run.build import _trainer, make, network
from zoomexp.run.choices import choices_told
from zoomexp.run.compose import Run, compose_run

CONFIGS = Path(__file__).parents[2] / "configs"
TABLES = load_tables(CONFIGS / "table")
# Of the public data sets: classes, channels, side, training images.
SETS = {"cifar10": (10, 3, 32, 50_000), "cifar100": (100, 3, 32, 50_000), "mnist": (10, 1, 32, 60_000),
        "tiny_imagenet": (200, 3, 64, 100_000), "cub200": (200, 3, 224, 5_994), "imagenet": (1000, 3, 224, 1_281_167),
        **{f"imagenet_{name}": (1000, 3, 224, 0) for name in ("a", "r", "v2", "sketch", "real")},
        "elpv": (2, 3, 224, 1_889),
        "cluttered_digits": (10, 1, 48, 10_000), "coco": (91, 3, 224, 118_287),
        "digit_scenes": (10, 1, 48, 8_000), "digit_masks": (11, 1, 48, 8_000),
        "oxford_pet": (2, 3, 224, 3_680), "digits": (10, 1, 8, 1_438)}  # fmt: skip
NETWORK = ("backbone", "attention", "insertion", "tokens", "detector", "decoder", "head")


@pytest.fixture(scope="module", autouse=True)
def hydra_configs():
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        yield


def rows_of(table: Table, scale: str) -> list[Row]:
    """The rows that a scale may keep from running, one of each kind."""
    rows = [row for row in table.rows if not row.unavailable]
    if scale == "paper" or any(word.startswith("experiment=") for word in table.scale[scale]):
        return rows
    return list({tuple(word for word in row.overrides if not word.startswith(NETWORK)): row for row in rows}.values())


def chosen() -> dict[tuple[str, str], list[Row]]:
    """Of each table and scale, the rows with a choice or a scale's schedule that none before them had."""
    seen, rows = set(), {}
    for scale in reversed(SCALES):
        for table in TABLES:
            for row in rows_of(table, scale):
                words = table.overrides_of(row, scale)
                new = {word for word in words if "." not in word.partition("=")[0]} | {table.scale[scale]}
                if not new <= seen:
                    rows.setdefault((table.name, scale), []).append(row)
                seen |= new
    return rows


CHOSEN = chosen()


@pytest.mark.parametrize(("name", "scale"), CHOSEN)
def test_rows_build(name, scale, tmp_path):
    build(next(table for table in TABLES if table.name == name), scale, CHOSEN[name, scale], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_builds(table, scale, tmp_path):
    build(table, scale, rows_of(table, scale), tmp_path)


def build(table: Table, scale: str, rows: list[Row], folder: Path) -> None:
    """Build the runs of these rows, each after those that it needs."""
    checked = set()
    for row in rows:
        if package := missing_package(table.overrides_of(row, scale)):
            pytest.skip(f"{package} is not installed: the extra `segmentation`")
        run = compose_run([*table.overrides_of(row, scale), f"output_dir={folder}", "logger=none"])
        told = choices_told(table.overrides_of(row, scale), CONFIGS)
        assert told == {group: run.choices[group] for group in ("dataset", "backbone", "attention")}, row.name
        for one in run.chain():
            if one.folder not in checked:
                try:
                    check(one, folder)
                except Exception as error:
                    raise AssertionError(f"{row.name}: {one.overrides}: {error}") from error
                checked.add(one.folder)
                finished(one)


def missing_package(words: list[str]) -> str | None:
    """The package that a row's decoder needs, where it is not there."""
    experiments = [word.partition("=")[2] for word in words if word.startswith("experiment=")]
    said = " ".join([*words, *((CONFIGS / "experiment" / f"{one}.yaml").read_text() for one in experiments)])
    asked = any(f"decoder{mark}{name}" in said for name in ("unet", "fpn", "upernet") for mark in ("=", ": "))
    return PACKAGE if asked and find_spec(PACKAGE) is None else None


def check(run: Run, folder: Path) -> None:
    """Build what a run is made of, but for its images, and look at what it starts from."""
    cfg, net = OmegaConf.create(run.config), network_of(run)
    make(cfg.dataset)
    parts = {name: make(cfg[name]) or None for name in ("loss", "mixing", "optimizer", "scheduler")}
    make(cfg.task)(model=net, num_classes=shape_of(run)["num_classes"], **parts)
    _trainer(cfg, folder)
    if cfg.evaluate == "start":
        check_weights(net, cfg.checkpoint)
    else:
        images = cfg.dataset.get("train_size") or cfg.dataset.get("train_images") or SETS[run.choices["dataset"]][3]
        assert cfg.dataset.batch_size <= images * (1 - cfg.dataset.val_fraction)
    if cfg.checkpoint is not None:
        source = next(need for need in run.used if Path(cfg.checkpoint).resolve().parents[1] == need.folder)
        assert shapes(network_of(source)) == shapes(net), "the checkpoint is of another network"
        assert source.config["dataset"]["val_fraction"] > 0, "nothing chooses best.ckpt"


def finished(run: Run) -> None:
    """Leave what a needed run leaves, without its weights."""
    run.folder.mkdir(parents=True, exist_ok=True)
    facts = {"status": "finished", "shape": shape_of(run), "weights": None, "choices": run.choices, "metrics": {}}
    facts |= {"cost": {}, "seed": run.config["seed"], "git": {}}
    (run.folder / "metrics.json").write_text(json.dumps(facts))
    (run.folder / "config.yaml").write_text(OmegaConf.to_yaml({**without_weights(run.config), "checkpoint": None}))


def shape_of(run: Run) -> dict[str, int]:
    """What the data of a run would have a network built for."""
    classes, channels, side, _ = SETS[run.choices["dataset"]]
    return {"num_classes": classes, "in_chans": channels, "image_size": run.config["dataset"].get("image_size") or side}


def network_of(run: Run) -> torch.nn.Module:
    """The network of a run, on the meta device, with a stand-in for public weights, which must exist."""
    parts = {name: without_weights(run.config[name]) for name in NETWORK}
    pretrained, shape = bool(run.config["backbone"].get("pretrained")), shape_of(run)
    net = built(OmegaConf.to_yaml(parts), pretrained, **shape)
    if pretrained:
        public = timm.get_pretrained_cfg(run.config["backbone"]["name"])
        assert public.has_weights, run.config["backbone"]["name"]
        net.start_weights = StartWeights(public.architecture, public.num_classes == shape["num_classes"])
    return net


@cache
def built(parts: str, pretrained: bool, **shape: int) -> torch.nn.Module:
    """A network; `pretrained` keeps those with public weights, which are not loaded, apart from the others."""
    with torch.device("meta"):
        return network(OmegaConf.create(parts), shape)


def without_weights(node: Any) -> Any:
    """A config that loads no weights."""
    if isinstance(node, dict):
        empty = {"pretrained": False, "weights": None, "checkpoint": None}
        return {key: empty.get(key, without_weights(value)) for key, value in node.items()}
    return node


def shapes(net: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in net.state_dict().items()}
