"""Published records: what is kept is what it was, what is wrong with one is said, and a clone rebuilds its numbers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from zoomexp.cli.records import main as records
from zoomexp.errors import InputError
from zoomexp.results.identity import config_hash
from zoomexp.results.predictions import Predictions, save_predictions
from zoomexp.results.published import problems, publish, restore

ROOT = Path(__file__).parents[2]
RIGHT = np.array([True, False, True, True, False, True, True, True, True, False, True])


def record(outputs, seed=0, **facts):
    """A finished run's folder, as a run leaves it."""
    config = {"seed": seed, "output_dir": str(outputs), "data_dir": "/somewhere/data", "backbone": {"weights": None}}
    folder = outputs / "runs" / "digits" / "resnet20-none-default" / f"seed{seed}-{config_hash(config)}"
    folder.mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    whole = {
        "status": "finished", "choices": {}, "seed": seed, "cost": {}, "git": {"sha": "0123456789", "dirty": False},
        "overrides": [f"seed={seed}", f"output_dir={outputs}"], "metrics": {"test/acc1": 100 * float(RIGHT.mean())},
        "identity": {"config": config_hash(config), "data": {"test": "0"}, "code": "0"},
    } | facts  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(whole))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "history.csv").write_text("epoch,val/acc1\n0,50.0\n")
    rows = np.arange(11)[::-1]  # a loader's order
    hits = {"hit": np.tile([True, False], 8)[:13], "hit.lengths": np.array([1, 1, 1, 2, 1, 1, 1, 1, 2, 1, 1])}
    save_predictions(
        {"index": rows, "label": rows % 3, "top1": rows % 2, "acc1": RIGHT, "nll": rows / 7, "other": rows / 3} | hits,
        folder,
    )
    return folder


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    there, away = tmp_path / "there", tmp_path / "away"
    folder = record(there)
    assert publish([folder], there, tmp_path / "a.tar.xz", {"nll"}) == 1
    assert restore(tmp_path / "a.tar.xz", away) == (1, 0)
    back = away / folder.relative_to(there)
    whole, kept = Predictions(folder / "predictions.npz"), Predictions(back / "predictions.npz")
    assert set(whole) - set(kept) == {"label", "top1", "other"} and set(kept) <= set(whole)
    for name, values in kept.items():
        np.testing.assert_array_equal(values, whole[name])
        assert values.dtype == whole[name].dtype
    assert (back / "history.csv").read_text() == (folder / "history.csv").read_text()
    assert not (back / "checkpoints").exists()
    assert json.loads((back / "metrics.json").read_text())["metrics"] == {"test/acc1": 100 * float(RIGHT.mean())}
    text = (back / "metrics.json").read_text() + (back / "config.yaml").read_text()
    assert str(tmp_path) not in text and "/somewhere" not in text
    assert list(problems(back)) == []


def test_the_same_records_give_the_same_bytes_and_nothing_that_is_there_is_touched(tmp_path):
    folders = [record(tmp_path / "there", seed) for seed in (0, 1)]
    for name in ("a", "b"):
        publish(folders[:: 1 if name == "a" else -1], tmp_path / "there", tmp_path / f"{name}.tar.xz")
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()
    assert len((tmp_path / "a.tar.xz").read_bytes()) < 4000
    shutil.rmtree(folders[1])
    (folders[0] / "history.csv").write_text("mine")
    assert restore(tmp_path / "a.tar.xz", tmp_path / "there") == (1, 1)
    assert (folders[0] / "history.csv").read_text() == "mine" and (folders[1] / "metrics.json").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", "cut"])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path, content):
    archive = tmp_path / "a.tar.xz"
    if content == "cut":
        publish([record(tmp_path / "there")], tmp_path / "there", archive)
        content = archive.read_bytes()[:-200]
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tar\.xz: no archive of records"):
        restore(archive, tmp_path / "away")
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize(
    ("facts", "clause"),
    [
        ({"status": "running"}, "not finished (running)"),
        ({"git": {"sha": "0123456789", "dirty": True}}, "was made by no commit, or with changes since"),
        ({"identity": {"config": "0"}}, "does not say from which data and code it was made"),
        ({"metrics": {"test/acc1": 90.0}}, "test/acc1 is 90, and of its images 72.73 % are right"),
        ({"overrides": ["backbone.weights=/home/x/w.pth"]}, "metrics.json names a place of the machine: /home/x/w.pth"),
    ],
)
def test_what_is_wrong_with_a_record_is_said(tmp_path, facts, clause):
    folder = record(tmp_path / "there", **facts)
    publish([folder], tmp_path / "there", tmp_path / "a.tar.xz")
    restore(tmp_path / "a.tar.xz", tmp_path / "away")
    assert list(problems(tmp_path / "away" / folder.relative_to(tmp_path / "there"))) == [clause]


def test_a_record_of_another_config_is_found(tmp_path):
    folder = record(tmp_path)
    moved = folder.rename(folder.with_name("seed0-01234567"))
    assert any(clause.startswith("its config has the digits") for clause in problems(moved))


def test_what_another_machine_published_stays(tmp_path):
    """One machine has seed 0, the next seed 1: the archive has both, and an export of nothing new is the same bytes."""
    archive = tmp_path / "records" / "studies" / "mine.tar.xz"
    for seed in (0, 1):
        outputs = tmp_path / f"machine{seed}"
        made = record(outputs / "studies" / "mine" / "row", seed)
        records(["export", f"records={tmp_path / 'records'}", f"output_dir={outputs}"])
    both = archive.read_bytes()
    assert restore(archive, tmp_path / "away") == (2, 0) and made.exists()
    records(["export", f"records={tmp_path / 'records'}", f"output_dir={tmp_path / 'machine0'}"])
    assert archive.read_bytes() == both


def test_the_command_verifies(tmp_path, capsys):
    publish([record(tmp_path / "a"), record(tmp_path / "a", 1, status="running")], tmp_path / "a",
            tmp_path / "records" / "set.tar.xz")  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        records(["verify", f"records={tmp_path / 'records'}"])
    out, err = capsys.readouterr()
    assert ended.value.code == 1 and "1 records are no evidence" in err
    assert "set.tar.xz: 2 runs" in out and "not finished (running)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["exprt"], "records=exprt is unknown; allowed: export, import, verify"),
        (["export", "table=none/*"], "table=none/*: fits no table"),
        (["verify", "records=nowhere"], "no published records"),
    ],
)
def test_bad_input_is_one_line(words, message):
    with pytest.raises(InputError) as found:
        records(words)
    assert message in str(found.value)
