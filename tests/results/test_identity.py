"""Which run is which: what counts, what does not, and that records of earlier code are found again.

`records/` has what commit 745ab39, whose hash covered every key, left of four runs: config.yaml and metrics.json.
`defaults.txt` has the default of every option that a config names, so that one that changes is seen.
"""

import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from zoomexp.results import identity
from zoomexp.results.collect import finished_run
from zoomexp.results.identity import (
    NOT_SCIENCE,
    ROOT_DEFAULTS,
    config_hash,
    defaults_of,
    hash_of,
    new_name,
    run_folder,
    run_path,
)
from zoomexp.run.compose import compose_run
from zoomexp.run.stored_run import stored_config

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs"
CHOICES = {"dataset": "digits", "backbone": "resnet20", "attention": "cbam", "insertion": "default", "loss": "x"}
RECORDS = sorted(path.parent.relative_to(HERE / "records") for path in HERE.glob("records/*/*/*/metrics.json"))


def resolved(*overrides: str) -> dict:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return OmegaConf.to_container(
            compose("train", overrides=["backbone=resnet20", "recipe=none", *overrides]), resolve=True
        )


def leaves(node: dict, prefix: str = "") -> list[str]:
    """Every dotted path to a value that is no mapping."""
    found = []
    for key, value in node.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]
    return found


def test_the_hash_sees_every_scientific_field_and_no_other():
    config = resolved("logger=wandb", "callbacks=[default,ema,early_stopping]", "attention=attzoom")
    config["dataset"]["num_workers"] = 3
    plain = config_hash(config)
    seen, ignored = set(), set()
    for path in leaves(config):
        changed = deepcopy(config)
        *parents, key = path.split(".")
        node = changed
        for parent in parents:
            node = node[parent]
        node[key] = "another"
        (seen if config_hash(changed) != plain else ignored).add(path)
    partial = [path for path in leaves(config) if path.endswith("._partial_")]
    assert ignored == {
        "needs", "recipe",
        "output_dir", "data_dir", "rerun", "stale", "compile", "dataset.data_dir", "dataset.num_workers",
        "trainer.accelerator", "trainer.profiler._target_", "trainer.devices", "trainer.num_nodes",
        "trainer.strategy", "trainer.log_every_n_steps",
        "trainer.on_oom", "trainer.flush_denormal",
        "trainer.graph",
        "callbacks.progress._target_", "callbacks.progress.every", "callbacks.gates._target_",
        "callbacks.gates.threshold", "callbacks.gates.every", "callbacks.gates.stop", "callbacks.history._target_",
        "callbacks.pictures._target_", "callbacks.pictures.every", "callbacks.pictures.count",
        "callbacks.pictures.epochs", "callbacks.pictures.sheets",
        "callbacks.effects._target_", "callbacks.effects.images", *partial,
        *(path for path in leaves(config) if path.startswith("logger.")),
    }  # fmt: skip
    assert {"seed", "evaluate", "checkpoint", "optimizer.lr", "trainer.max_epochs", "trainer.precision"} <= seen
    assert {"dataset.batch_size", "attention.threshold", "insertion.at", "scheduler.min_lr", "task.seed"} <= seen


def test_a_class_that_only_checks_more_leaves_a_run_where_it_is():
    one = resolved("callbacks=[default,ema,early_stopping]")
    other = deepcopy(one)
    other["callbacks"]["ema"]["_target_"] = "pytorch_lightning.callbacks.EMAWeightAveraging"
    other["callbacks"]["early_stopping"]["_target_"] = "pytorch_lightning.callbacks.EarlyStopping"
    assert one != other and config_hash(one) == config_hash(other)


def test_where_features_are_kept_is_not_part_of_a_run():
    for probe in ("task=probe", "callbacks=[default,probe_first]"):
        assert config_hash(resolved(probe)) == config_hash(resolved(probe, "output_dir=elsewhere"))


def test_fields_that_are_left_out_exist_somewhere():
    known = leaves(resolved("logger=wandb"))
    optional = {"dataset.num_workers", "trainer.enable_progress_bar"}  # of streaming data sets; of Lightning
    optional |= {"task.cache", "callbacks.probe_first.cache", "callbacks.dynamics"}  # of a probe; of who asks
    for field in set(NOT_SCIENCE) - optional:
        assert any(path == field or path.startswith(f"{field}.") for path in known), field


def test_two_configs_never_share_a_folder_and_one_config_has_one():
    variants = [
        [], ["seed=1"], ["attention=none"], ["attention=loupe", "insertion=stage2"], ["insertion=stage1"],
        ["optimizer.lr=0.2"], ["dataset.batch_size=64"], ["evaluate=last"], ["loss=cross_entropy"],
        ["callbacks=[default,ema]"], ["backbone=timm", "backbone.name=resnet18"], ["checkpoint=x.ckpt"],
    ]  # fmt: skip
    configs = [resolved(*overrides) for overrides in variants]
    paths = {run_path(config, CHOICES) for config in configs}
    assert len(paths) == len(variants)
    assert run_path(resolved("logger=none", "data_dir=x", "output_dir=y"), CHOICES) == run_path(configs[0], CHOICES)
    shuffled = dict(reversed(configs[0].items()))
    assert run_path(shuffled, CHOICES) == run_path(configs[0], CHOICES)
    assert str(run_path(configs[0], CHOICES)).startswith("digits/resnet20-cbam-default/seed0-")


def test_timms_models_have_their_own_folders_and_old_ones_are_found(tmp_path):
    config = resolved("backbone=timm", "backbone.name=hf-hub:timm/resnet18.a1_in1k")
    path = run_path(config, CHOICES | {"backbone": "timm"})
    assert str(path.parent) == "digits/hf-hub_timm_resnet18.a1_in1k-cbam-default"
    assert run_folder(tmp_path, path) == tmp_path / "runs" / path
    once = tmp_path / "runs" / "digits" / "timm-cbam-default"
    for name, kept in (("seed0-00000000", config), ("seed0-11111111", config | {"seed": 1})):
        (once / name).mkdir(parents=True)
        (once / name / "config.yaml").write_text(OmegaConf.to_yaml(kept))
    assert run_folder(tmp_path, path) == once / "seed0-00000000"


def test_the_hash_leaves_the_config_as_it_was():
    config = resolved()
    copy = deepcopy(config)
    config_hash(config)
    assert config == copy


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder `outputs` with the old records, in the current folder, as it was when they were made."""
    shutil.copytree(HERE / "records", tmp_path / "outputs" / "runs")
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        yield tmp_path / "outputs"


def overrides_of(record: Path) -> list[str]:
    """What was typed, and that no recipe applies: there were none."""
    typed = json.loads((HERE / "records" / record / "metrics.json").read_text())["overrides"]
    return typed if any(word.startswith("experiment=") for word in typed) else [*typed, "recipe=none"]


@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_records_of_the_hash_over_every_key_are_found_again(outputs, record):
    run = compose_run(overrides_of(record))
    assert run.folder == outputs / "runs" / record
    assert run.path != record  # a new run would lie elsewhere
    assert finished_run(run.folder).seed == run.cfg.seed
    for overrides in (["trainer.max_epochs=77"], ["seed=8"]):
        other = compose_run([*overrides_of(record), *overrides])
        assert other.folder == outputs / "runs" / other.path


def test_an_old_record_goes_before_nothing_but_after_a_new_folder(outputs):
    run = compose_run(overrides_of(RECORDS[0]))
    new = outputs / "runs" / run.path
    new.mkdir()
    assert compose_run(overrides_of(RECORDS[0])).folder == new


def test_what_a_run_is_built_on_counts_by_its_own_hash_not_by_its_folders_name(outputs):
    (student,) = [record for record in RECORDS if "tokens=tome" in overrides_of(record)]
    run = compose_run(overrides_of(student))
    (teacher,) = run.used
    old, path = teacher.folder, run.path
    assert old.relative_to(outputs / "runs") in RECORDS
    shutil.rmtree(old)  # it would be trained anew, under its new name
    again = compose_run(overrides_of(student))
    assert again.used[0].folder == outputs / "runs" / teacher.path
    assert again.path == path


MODULE = """
from zoomexp.attention import cbam
class Moved(cbam.CBAM):
    def __init__(self, channels, *, reduction=16, kernel_size=7, residual=True, start="paper", temperature=1.0):
        super().__init__(channels, reduction=reduction, kernel_size=kernel_size, residual=residual)
"""


@pytest.fixture
def moved(own_modules, monkeypatch) -> list[str]:
    """CBAM lies in another file and has one more option; returns the overrides that its yaml would now stand for."""
    (own_modules / "elsewhere.py").write_text(MODULE)
    monkeypatch.setitem(identity.MOVED, "zoomexp.attention.cbam.CBAM", "between.CBAM")
    monkeypatch.setitem(identity.MOVED, "between.CBAM", "elsewhere.Moved")
    identity._hash_of.cache_clear()
    yield ["attention._target_=elsewhere.Moved", "+attention.temperature=1.0", "+trainer.benchmark=null"]
    identity._hash_of.cache_clear()


def test_an_old_record_is_found_after_a_file_has_moved_and_options_were_added(outputs, moved):
    (record,) = [record for record in RECORDS if "cbam" in str(record)]
    assert compose_run([*overrides_of(record), *moved]).folder == outputs / "runs" / record
    other = compose_run([*overrides_of(record), *moved, "attention.temperature=2.0"])
    assert other.folder == outputs / "runs" / other.path
    assert stored_config(outputs / "runs" / record, "run").attention._target_ == "elsewhere.Moved"


def test_a_default_that_changed_keeps_its_runs_apart(monkeypatch):
    def config(**options):
        return {"seed": 0, "attention": {"_target_": "zoomexp.attention.cbam.CBAM", **options}}

    old = config_hash(config(reduction=16))
    assert old == config_hash(config())  # while 16 is the default
    monkeypatch.setitem(identity.FIRST_DEFAULTS, "zoomexp.attention.cbam.CBAM.reduction", 8)  # as if 8 had been before
    assert config_hash(config(reduction=8)) == old
    assert config_hash(config(reduction=16)) == config_hash(config()) != old


@pytest.mark.parametrize("value", [1.0, True, "1"])
def test_values_of_another_kind_are_other_values(value):
    options = {"_target_": "pytorch_lightning.Trainer", "devices": 1}
    assert config_hash({"seed": 0, "trainer": options | {"limit_train_batches": value}}) != config_hash(
        {"seed": 0, "trainer": options | {"limit_train_batches": 1}}
    )


def targets(node: object) -> Iterator[tuple[str, str]]:
    """(target, option) of every node of a config."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield from ((node["_target_"], key) for key in node if not str(key).startswith("_"))
        for child in node.values():
            yield from targets(child)


def test_no_default_changes_unseen():
    changed = []
    for line in (HERE / "defaults.txt").read_text().splitlines():
        option, _, first = line.partition(" = ")
        target, _, name = option.rpartition(".")
        now = defaults_of(new_name(target))
        told = identity.FIRST_DEFAULTS.get(f"{new_name(target)}.{name}", now.get(name))
        if name in now and identity._text(told) != first:
            changed.append(f"{option}: {first} is now {identity._text(told)}; enter it in identity.FIRST_DEFAULTS")
    assert not changed, changed


def test_every_option_of_the_root_is_a_group_or_has_its_place_here():
    root = OmegaConf.load(CONFIGS / "train.yaml")
    plain = {key for key in root if key not in ("defaults", "hydra")}
    assert plain == {"seed", *ROOT_DEFAULTS} | {name for name in NOT_SCIENCE if "." not in name} - {"logger", "recipe"}
    assert {key: root[key] for key in ROOT_DEFAULTS} == ROOT_DEFAULTS


@pytest.mark.parametrize(
    "overrides",
    [[], ["experiment=zoomvit/digits"], ["experiment=loupe/cub200"], ["mixing=mixup", "callbacks=[default,ema]"]],
    ids=str,
)
def test_the_hash_of_a_config_is_that_of_the_file_it_is_written_to(outputs, overrides):
    run = compose_run(overrides)
    folder = outputs / "runs" / run.path
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(run.cfg, resolve=True))
    assert hash_of(folder) == run.path.name.rpartition("-")[2]


def test_a_target_that_cannot_be_imported_has_no_defaults():
    assert defaults_of("no.such.module") == {} == defaults_of("zoomexp.attention.cbam.Nothing")


def test_the_main_quantity_has_the_hash_of_accuracy_which_it_was():
    def config(**checkpoints):
        return {
            "seed": 0,
            "callbacks": {"checkpoints": {"_target_": "zoomexp.callbacks.checkpoints.Checkpoints", **checkpoints}},
        }

    first = config_hash(config(monitor="val/acc1", mode="max"))
    assert config_hash(config(monitor="val/main", mode="declared")) == first
    others = [("val/mse", "declared"), ("val/mse", "max"), ("val/main", "min")]
    assert config_hash(config()) == first
    assert len({first, *(config_hash(config(monitor=name, mode=mode)) for name, mode in others)}) == 4
