"""A checkpoint that cannot be read, or should not be, is named; the one before serves."""

import os
import signal
from pathlib import Path

import pytest
import torch


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def run_code(path: Path) -> None:
    torch.save({"state_dict": {}, "epoch": 2, "evil": Evil(path.with_name("evil"))}, path)


@pytest.fixture
def killed(once, killed_at):
    """A run that was killed in its third epoch: two are kept."""

    def do(folder: Path) -> None:
        assert killed_at(3, "history.csv", f"output_dir={folder / 'out'}") == -signal.SIGKILL

    once("killed", do)


HALF, BIT = "half of it cut away", "one bit of the weights flipped"


@pytest.mark.parametrize(
    ("fault", "damaged", "damage", "made", "left"),
    [
        ("last.ckpt cut short", ["last"], cut, HALF, 1),
        ("last.ckpt with a changed bit", ["last"], flip, BIT, 1),
        ("last.ckpt that would run code", ["last"], run_code, "a pickle that makes a folder", 1),
        ("last.ckpt and previous.ckpt cut short", ["last", "previous"], cut, "half of each cut away", 0),
        ("best.ckpt with a changed bit", ["best"], flip, BIT, 0),
    ],
)
def test_damaged(killed, finishes, folders, row, fault, damaged, damage, made, left):
    (folder,) = folders()
    for name in damaged:
        damage(folder / "checkpoints" / f"{name}.ckpt")
    ended = finishes()
    assert not (folder / "checkpoints" / "evil").exists()
    assert ended.err.count("\nepoch ") == 3 - left
    row(fault, made, ended.code, ended.err, "numbers of an undisturbed run")


def test_a_checkpoint_to_start_from_that_would_run_code_is_refused(train, tmp_path):
    run_code(tmp_path / "evil.ckpt")
    ended = train(f"checkpoint='{tmp_path / 'evil.ckpt'}'")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "not a readable checkpoint of a run (UnpicklingError)" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["evil.ckpt"]
