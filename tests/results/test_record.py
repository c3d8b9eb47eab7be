"""The run record: whose folder is whose, and never half a file."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from zoomexp.atomic_file import write_text
from zoomexp.errors import InputError
from zoomexp.results.record import RunRecord

CHOICES = {"dataset": "digits", "backbone": "resnet20", "attention": "cbam", "insertion": "default", "loss": "x"}


@pytest.fixture
def record(tmp_path):
    return RunRecord(tmp_path / "out", {"seed": 4, "lr": 0.1}, CHOICES | {"hydra/launcher": "basic"}, ["lr=0.1"])


def stored(record) -> dict:
    return json.loads((record.folder / "metrics.json").read_text())


SHAPE = {"num_classes": 10, "in_chans": 1, "image_size": 8}


def test_the_life_of_a_run(record, tmp_path):
    assert not record.folder.exists()
    assert not record.finished()
    with record.claimed("seed: 4\n") as mine:
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
        with second.claimed("") as mine:
            found.append(mine)

    asking = threading.Thread(target=ask)
    with record.claimed(""):
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
    with pytest.raises(type(error)), record.claimed(""):
        raise error
    assert stored(record)["status"] == status
    assert not record.finished()


def test_a_block_that_ends_well_changes_nothing(record):
    with record.claimed(""):
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
        record.claimed("").__enter__()


def test_a_rerun_forgets_the_checkpoints_and_the_history(record):
    with record.claimed(""):
        (record.folder / "checkpoints").mkdir()
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "history.csv", "note.txt"):
        (record.folder / name).write_text("")
    with record.claimed(""):
        pass
    assert (record.folder / "checkpoints" / "last.ckpt").exists()
    with record.claimed("", rerun=True):
        assert not list((record.folder / "checkpoints").iterdir())
    assert sorted(path.name for path in record.folder.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "metrics.json",
        "note.txt",
    ]


def test_predictions_are_sorted_by_index(record):
    index = np.array([3, 0, 2, 1])
    with record.claimed(""):
        record.save_predictions({"index": index, "label": index * 10, "top1": index * 100})
    with np.load(record.folder / "predictions.npz") as read:
        assert {name: read[name].tolist() for name in read.files} == {
            "index": [0, 1, 2, 3], "label": [0, 10, 20, 30], "top1": [0, 100, 200, 300],
        }  # fmt: skip
    assert not list(record.folder.glob("*partial*"))


def test_only_the_first_process_writes(record, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero_only.rank", 1)
    with record.claimed("") as mine:
        assert mine
        record.save_predictions({"index": np.array([0])})
        record.finish({}, {}, None, SHAPE)
    assert not record.folder.exists()
