"""The five commands of docs/finetune.md, each as it is written, on generated images; small ones, for speed."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

ROOT = Path(__file__).parents[2]
COMMANDS = [line[4:] for line in (ROOT / "docs" / "finetune.md").read_text().splitlines() if line.startswith("    ")]
QUICK = ("logger=none", "dataset.image_size=64")  # nothing that decides how a run learns


@pytest.fixture
def home(tmp_path, monkeypatch, images_of) -> Path:
    """A folder with weights, birds and new images, as the text has them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    (name,) = {name for command in COMMANDS for name in re.findall(r"backbone\.name=(\S+)", command)}
    torch.save(timm.create_model(name).state_dict(), tmp_path / "weights.pth")
    coloured(tmp_path / "birds")
    images_of(tmp_path / "new", ("somewhere",), size=64)
    return tmp_path


def coloured(folder: Path) -> None:
    """Two classes of different colour, 20 images of each to train on and 10 to test."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        for channel, name in ((0, "gull"), (2, "tern")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = noise.integers(0, 60, (64, 64, 3), np.uint8)
                pixels[..., channel] += 120
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")


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
    folder, told, right = None, [], []
    for command in COMMANDS:
        words = [word.replace("FOLDER", str(folder)) for word in shlex.split(command)[1:]]
        trains = words[0] == "train.py"
        before = set(home.glob("outputs/runs/*/*/*/metrics.json"))
        run([*words, *(QUICK if trains else ())], monkeypatch)
        told.append("".join(capfd.readouterr()))
        if trains:
            (made,) = set(home.glob("outputs/runs/*/*/*/metrics.json")) - before
            folder = made.parent
            right.append(json.loads(made.read_text())["metrics"]["test/acc1"])
    assert "294 of 296 tensors loaded; new classifier.weight, classifier.bias" in told[0]
    assert right == [100, 100, 100]  # a network that goes on loses nothing of what it knows
    assert "new classifier" not in told[2] and re.search(r"module at \S+: moves features by", told[2])
    assert "10 images named" in told[3] and (folder / "predictions" / "maps").is_dir()
    assert (folder / "export" / "MODEL_CARD.md").exists() and (folder / "export" / "model.safetensors").exists()
