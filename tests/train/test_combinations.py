"""Every attention module on every listed backbone, as `trainer=smoke` runs it."""

import shutil
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs"
ATTENTION = sorted(path.stem for path in (CONFIGS / "attention").glob("*.yaml"))
OTHERS = {"timm", "trained", "zoomer"}  # these need a name, a run, a task of their own
BACKBONES = sorted(path.stem for path in (CONFIGS / "backbone").glob("*.yaml") if path.stem not in OTHERS)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("attention", ATTENTION)
def test_every_attention_on_every_backbone(train, facts, tmp_path, attention, backbone):
    choices = (f"attention={attention}", f"backbone={backbone}", "trainer=smoke", "logger=none")
    small = ("backbone.pretrained=false", "dataset.train_images=100", "dataset.test_images=20")
    ended = train(*choices, *small, base=())
    assert ended.code == 0, ended.err
    stored = facts()
    shutil.rmtree(tmp_path / "out")  # checkpoints of up to a gigabyte
    assert stored["status"] == "finished"
    assert bool(stored["cost"]["insertion_sites"]) is (attention != "none")
    assert {"test/acc1", "test/loss", "val/acc1", "train/loss"} <= set(stored["metrics"])
