"""The five commands of docs/finetune.md, each as it is written, on generated images and at smoke scale."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import timm
import torch
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[2]
COMMANDS = [line[4:] for line in (ROOT / "docs" / "finetune.md").read_text().splitlines() if line.startswith("    ")]
SMOKE = ("trainer=smoke", "logger=none", "dataset.batch_size=4", "dataset.val_fraction=0.25", "dataset.image_size=64")


@pytest.fixture
def home(tmp_path, monkeypatch, images_of) -> Path:
    """A folder with weights, birds and new images, as the text has them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    (name,) = {name for command in COMMANDS for name in re.findall(r"backbone\.name=(\S+)", command)}
    torch.save(timm.create_model(name).state_dict(), tmp_path / "weights.pth")
    images_of(tmp_path / "birds", ("gull", "tern"), size=64)
    images_of(tmp_path / "new", ("somewhere",), size=64)
    return tmp_path


def run(words: list[str], monkeypatch) -> None:
    """A command of a checkout, from another folder."""
    monkeypatch.setattr(sys, "argv", words)
    GlobalHydra.instance().clear()
    try:
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    except SystemExit as error:
        assert not error.code, words
    finally:
        GlobalHydra.instance().clear()


def test_the_five_commands(home, monkeypatch, capfd):
    assert len(COMMANDS) == 5 and all(command.startswith("python ") for command in COMMANDS)
    folder, told = None, []
    for command in COMMANDS:
        words = [word.replace("FOLDER", str(folder)) for word in shlex.split(command)[1:]]
        trains = words[0] == "train.py"
        before = set(home.glob("outputs/runs/*/*/*/metrics.json"))
        run([*words, *(SMOKE if trains else ())], monkeypatch)
        told.append("".join(capfd.readouterr()))
        if trains:
            (made,) = set(home.glob("outputs/runs/*/*/*/metrics.json")) - before
            folder = made.parent
    assert "294 of 296 tensors loaded; new classifier.weight, classifier.bias" in told[0]
    assert "new classifier" not in told[2] and re.search(r"module at \S+: moves features by", told[2])
    assert "10 images named" in told[3] and (folder / "predictions" / "maps").is_dir()
    assert (folder / "export" / "MODEL_CARD.md").exists() and (folder / "export" / "model.safetensors").exists()
