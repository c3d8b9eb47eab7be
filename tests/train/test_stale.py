"""A finished run whose data, files or code have changed since is not shown as if it were true."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoomexp.results.collect import finished_run

FOLDER = (
    "dataset=image_folder", "dataset.image_size=32", "dataset.batch_size=4", "trainer.max_epochs=1", "logger=none",
    "attention=none", "dataset.val_fraction=0.25",
)  # fmt: skip


@pytest.fixture
def images(tmp_path) -> Path:
    """Two classes, of one size in bytes each."""
    for split, count in (("train", 8), ("test", 3)):
        for name, grey in (("dark", 20), ("light", 200)):
            folder = tmp_path / "data" / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = np.random.default_rng([grey, number]).integers(0, 20, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(noise + np.uint8(grey)).save(folder / f"{number}.bmp")
    return tmp_path / "data" / "images"


def swap(folder: Path) -> None:
    for old, new in (("dark", "kept"), ("light", "dark"), ("kept", "light")):
        (folder / old).rename(folder / new)


def test_data_that_changed(train, facts, images, tmp_path):
    base = (*FOLDER, f"data_dir={images.parent}")
    assert train(base=base).code == 0
    before = facts()
    assert train(base=base).code == 0
    swap(images / "test")
    refused = train(base=base)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert refused.err.startswith("error: data: images or labels of test changed after image_folder/resnet20-none")
    assert "rerun=true repeats it" in refused.err and "stale=show" in refused.err
    shown = train("stale=show", base=base)
    assert shown.code == 0 and "data: images or labels of test changed after it was finished" in shown.out
    assert facts() == before
    run = finished_run(tmp_path / "out" / "runs" / before["run"])
    assert run.changed == "data: images or labels of test"
    assert train("rerun=true", base=base).code == 0
    assert (
        facts()["metrics"]["test/acc1"] != before["metrics"]["test/acc1"] or facts()["identity"] != before["identity"]
    )
    assert train(base=base).code == 0


def test_resuming_onto_changed_data_is_refused(train, facts, folders, images):
    base = (*FOLDER, f"data_dir={images.parent}")
    assert train(base=base).code == 0
    (folder,), whole = folders(), facts()
    (folder / "metrics.json").write_text(json.dumps(whole | {"status": "interrupted: killed", "metrics": {}}))
    swap(images / "train")
    refused = train(base=base)
    assert (refused.code, facts()["status"]) == (2, "interrupted: killed")
    assert "error: data: images or labels of train" in refused.err and "rerun=true begins it anew" in refused.err
    swap(images / "train")
    assert train(base=base).code == 0 and facts()["status"] == "finished"


@pytest.fixture
def gate(own_modules) -> Path:
    """A user's module, in a package of theirs."""
    path = own_modules / "mine" / "gate.py"
    path.parent.mkdir()
    path.write_text("from torch import nn\n\n\ndef gate(channels):\n    return nn.Identity()\n")
    return path


def test_code_that_changed(train, facts, gate):
    words = ("attention=none", "+attention._target_=mine.gate.gate", "+attention._partial_=true")
    assert train(*words).code == 0
    gate.write_text("# the same\n" + gate.read_text())
    assert train(*words).code == 0
    gate.write_text(gate.read_text().replace("Identity", "ReLU"))
    refused = train(*words)
    assert refused.code == 2 and refused.err.startswith("error: code: mine.gate changed after digits/")
    assert "stale: mine" not in refused.out
    assert train(*words, "stale=show").code == 0
    assert train(*words, "rerun=true").code == 0
    assert train(*words).code == 0


def test_a_checkpoint_that_changed(train, folders, facts, tmp_path):
    assert train("attention=none").code == 0
    (folder,) = folders()
    weights = tmp_path / "start.ckpt"
    weights.write_bytes((folder / "checkpoints" / "best.ckpt").read_bytes())
    words = ("attention=none", "seed=1", f"checkpoint={weights}")
    assert train(*words).code == 0
    assert train("attention=none", "seed=2").code == 0
    other = next(one for one in folders() if one.name.startswith("seed2"))
    weights.write_bytes((other / "checkpoints" / "best.ckpt").read_bytes())
    refused = train(*words)
    assert refused.code == 2 and refused.err.startswith("error: checkpoint changed after digits/resnet20-none")


def test_what_it_allows(train):
    refused = train("stale=maybe")
    assert (refused.code, refused.err) == (2, "error: stale='maybe' must be one of refuse, show\n")
