"""A disk without room: one line, nothing half-written, earlier runs untouched; with room again the run goes on."""

import json
import os
import subprocess
from importlib import import_module

import pytest

from zoomexp.weights.checkpoint import read_checkpoint

RUN = ("dataset=digits", "dataset.train_size=128", "dataset.test_size=60", "trainer.max_epochs=3", "logger=none",
       "attention=none")  # fmt: skip
AGAIN = "same command: goes on, numbers of an undisturbed run"


@pytest.fixture
def disk(tmp_path):
    """A small disk at `tmp_path / "out"`: `disk(n)` sets its size in bytes."""
    folder = tmp_path / "out"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size // 1024}k", str(folder)], check=True)
    subprocess.run(["umount", str(folder)], check=True)


def test_while_a_checkpoint_is_written(train, disk, stored, tmp_path, row):
    base = (*RUN, "dataset.val_fraction=0", "evaluate=last")  # no best.ckpt
    assert train("seed=1", base=base).code == 0
    (other,) = tmp_path.glob("out/runs/*/*/seed1-*")
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    used = int(subprocess.run(["du", "-sB1", str(tmp_path / "out")], capture_output=True, text=True).stdout.split()[0])
    disk(used + int(2.5 * (other / "checkpoints" / "last.ckpt").stat().st_size))  # the third has no room
    ended = train(base=base)
    assert stored(run="seed0-*")["status"].startswith("failed: FaultError: no space left on device: ")
    (folder,) = tmp_path.glob("out/runs/*/*/seed0-*")
    kept = {path.name: read_checkpoint(path)["epoch"] for path in (folder / "checkpoints").iterdir()}
    assert kept == {"last.ckpt": 1, "previous.ckpt": 0}
    assert {path: path.read_bytes() for path in before} == before
    disk(64 << 20)
    resumed = train(base=base)
    assert (resumed.code, resumed.err.count("\nepoch ")) == (0, 1)
    assert train(f"output_dir={tmp_path / 'whole'}", base=base).code == 0
    assert stored(run="seed0-*")["metrics"] == stored("whole")["metrics"]
    row("disk full: checkpoint", "a tmpfs with room for two", ended.code, ended.err, f"earlier runs untouched; {AGAIN}")


@pytest.mark.parametrize(
    ("name", "owner", "method"),
    [
        ("history.csv", "zoomexp.callbacks.history.History", "_write"),
        ("predictions.npz", "zoomexp.results.record.RunRecord", "save_predictions"),
        ("metrics.json", "zoomexp.results.record.RunRecord", "finish"),
    ],
)
def test_while_a_record_is_written(
    train, disk, finishes, stored, folders, tmp_path, monkeypatch, row, name, owner, method
):
    module, kind = owner.rsplit(".", 1)
    write, ballast = getattr(getattr(import_module(module), kind), method), tmp_path / "out" / "ballast"

    def filled(*args, **kwargs):
        with pytest.raises(OSError, match="No space"), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        return write(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(f"{owner}.{method}", filled)
        ended = train(base=RUN)
    assert (ended.code, ended.err.count("error: "), stored()["status"]) == (1, 1, "running")
    assert not list(folders()[0].rglob("*.partial"))
    ballast.unlink()
    assert ("epoch 1/" in finishes().err) == (name == "history.csv")
    row(f"disk full: {name}", "a tmpfs without a free byte", ended.code, ended.err, AGAIN)


def test_the_status_of_a_failure_is_whole(disk, stored, train):
    """Where there is room for it, the record says why the run failed."""
    assert train("optimizer.lr=1e30", base=RUN).code == 1
    assert json.dumps(stored()) and stored()["status"].startswith("failed: DivergedError: ")
