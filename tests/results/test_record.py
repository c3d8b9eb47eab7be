"""The run record: whose folder is whose, and never half a file."""

import json
import threading
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from zoomexp.errors import InputError
from zoomexp.results.record import NOT_SCIENCE, RunRecord, config_hash, run_path, write_text

CONFIGS = Path(__file__).parents[2] / "configs"
CHOICES = {"dataset": "digits", "backbone": "resnet20", "attention": "cbam", "insertion": "default", "loss": "x"}


def resolved(*overrides: str) -> dict:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return OmegaConf.to_container(compose("train", overrides=["backbone=resnet20", *overrides]), resolve=True)


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
    assert ignored == {
        "output_dir", "data_dir", "rerun", "compile", "dataset.data_dir", "dataset.num_workers",
        "trainer.accelerator", "trainer.profiler._target_", "trainer.devices", "trainer.num_nodes",
        "trainer.strategy", "trainer.log_every_n_steps",
        "trainer.on_oom",
        "callbacks.progress._target_", "callbacks.progress.every", "callbacks.gates._target_",
        "callbacks.gates.threshold", "callbacks.gates.every", "callbacks.gates.stop", "callbacks.history._target_",
        "callbacks.pictures._target_", "callbacks.pictures.every", "callbacks.pictures.count",
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


def test_fields_that_are_left_out_exist_somewhere():
    known = leaves(resolved("logger=wandb"))
    optional = {"dataset.num_workers", "trainer.enable_progress_bar"}  # of streaming data sets; of Lightning
    for field in set(NOT_SCIENCE) - optional:
        assert any(path == field or path.startswith(f"{field}.") for path in known), field


def test_two_configs_never_share_a_folder_and_one_config_has_one():
    variants = [
        [], ["seed=1"], ["attention=none"], ["attention=loupe", "insertion=stage2"], ["insertion=stage1"],
        ["optimizer.lr=0.2"], ["dataset.batch_size=64"], ["evaluate=last"], ["loss=sparse_gate"],
        ["callbacks=[default,ema]"], ["backbone=timm", "backbone.name=resnet18"], ["checkpoint=x.ckpt"],
    ]  # fmt: skip
    configs = [resolved(*overrides) for overrides in variants]
    paths = {run_path(config, CHOICES) for config in configs}
    assert len(paths) == len(variants)
    assert run_path(resolved("logger=none", "data_dir=x", "output_dir=y"), CHOICES) == run_path(configs[0], CHOICES)
    shuffled = dict(reversed(configs[0].items()))
    assert run_path(shuffled, CHOICES) == run_path(configs[0], CHOICES)
    assert str(run_path(configs[0], CHOICES)).startswith("digits/resnet20-cbam-default/seed0-")


def test_the_hash_leaves_the_config_as_it_was():
    config = resolved()
    copy = deepcopy(config)
    config_hash(config)
    assert config == copy


@pytest.fixture
def record(tmp_path):
    return RunRecord(tmp_path / "out", {"seed": 4, "lr": 0.1}, CHOICES | {"hydra/launcher": "basic"}, ["lr=0.1"])


def stored(record) -> dict:
    return json.loads((record.folder / "metrics.json").read_text())


SHAPE = {"num_classes": 10, "in_chans": 1, "image_size": 8}


def test_the_life_of_a_run(record, tmp_path):
    assert not record.folder.exists()
    assert not record.finished()
    with record.alone("seed: 4\n") as mine:
        assert mine
        assert (record.folder / "config.yaml").read_text() == "seed: 4\n"
        assert (stored(record)["status"], stored(record)["metrics"], stored(record)["cost"]) == ("running", {}, {})
        assert stored(record)["choices"] == CHOICES
        assert not record.finished()
        record.finish({"test/acc1": 12.5}, {"params": 7}, "checkpoints/best.ckpt", SHAPE)
    assert record.finished()
    again = RunRecord(tmp_path / "out", {"seed": 4, "lr": 0.1}, CHOICES, [])
    assert again.finished()
    assert again.facts == stored(record)
    assert (again.facts["metrics"], again.facts["cost"]) == ({"test/acc1": 12.5}, {"params": 7})
    assert (again.facts["weights"], again.facts["shape"]) == ("checkpoints/best.ckpt", SHAPE)
    assert sorted(path.name for path in record.folder.iterdir()) == ["config.yaml", "metrics.json"]


def test_a_second_process_waits_and_does_not_repeat_the_run(record, tmp_path, capfd):
    second, found = RunRecord(tmp_path / "out", {"seed": 4, "lr": 0.1}, CHOICES, []), []

    def ask():
        with second.alone("") as mine:
            found.append(mine)

    asking = threading.Thread(target=ask)
    with record.alone(""):
        asking.start()
        asking.join(0.5)
        assert asking.is_alive() and not found
        record.finish({"test/acc1": 12.5}, {}, None, SHAPE)
    asking.join(10)
    assert found == [False]
    assert second.facts["metrics"] == {"test/acc1": 12.5}
    assert capfd.readouterr().err == f"waiting for another process that does {record.path}\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("first line\nsecond"), "failed: ValueError: first line"),
        (RuntimeError(), "failed: RuntimeError: no message"),
        (KeyboardInterrupt(), "interrupted: KeyboardInterrupt"),
    ],
)
def test_a_failure_is_recorded_and_goes_on(record, error, status):
    with pytest.raises(type(error)), record.alone(""):
        raise error
    assert stored(record)["status"] == status
    assert not record.finished()


def test_a_block_that_ends_well_changes_nothing(record):
    with record.alone(""):
        pass
    assert stored(record)["status"] == "running"


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "metrics.json"
    write_text(file, "old")
    write = Path.write_text

    def half(path, text, *args, **kwargs):
        write(path, text[: len(text) // 2])
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="full"):
        write_text(file, "a new text")
    assert file.read_text() == "old"
    monkeypatch.undo()

    def crash(path, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_text(file, "a new text")
    assert file.read_text() == "old"
    monkeypatch.undo()
    write_text(file, "a new text")
    assert file.read_text() == "a new text"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("content", ["", "{", '{"status": "running"}', '{"status": "failed: x"}'])
def test_a_damaged_or_unfinished_record_is_not_finished(record, content):
    record.folder.mkdir(parents=True)
    (record.folder / "metrics.json").write_text(content)
    assert not record.finished()
    assert record.facts["status"] == "running"


def test_an_unwritable_folder_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    record = RunRecord(tmp_path / "file", {"seed": 0}, CHOICES, [])
    with pytest.raises(
        InputError, match=r"^output_dir: cannot write .*file.*\(Not a directory\); name a writable one$"
    ):
        record.alone("").__enter__()


def test_a_rerun_forgets_the_checkpoints_and_the_history(record):
    with record.alone(""):
        (record.folder / "checkpoints").mkdir()
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "history.csv", "note.txt"):
        (record.folder / name).write_text("")
    with record.alone(""):
        pass
    assert (record.folder / "checkpoints" / "last.ckpt").exists()
    with record.alone("", rerun=True):
        assert not list((record.folder / "checkpoints").iterdir())
    assert sorted(path.name for path in record.folder.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "metrics.json",
        "note.txt",
    ]


def test_predictions_are_sorted_by_index(record):
    index = np.array([3, 0, 2, 1])
    with record.alone(""):
        record.save_predictions({"index": index, "label": index * 10, "top1": index * 100})
    with np.load(record.folder / "predictions.npz") as read:
        assert {name: read[name].tolist() for name in read.files} == {
            "index": [0, 1, 2, 3], "label": [0, 10, 20, 30], "top1": [0, 100, 200, 300],
        }  # fmt: skip
    assert not list(record.folder.glob("*partial*"))


def test_only_the_first_process_writes(record, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", 1)
    with record.alone("") as mine:
        assert mine
        record.save_predictions({"index": np.array([0])})
        record.finish({}, {}, None, SHAPE)
    assert not record.folder.exists()
