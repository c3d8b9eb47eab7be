"""A finished run on images that are not of its data set: the notebook's three lines, and the script."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoomexp
from tests.train.conftest import Ended, run_script
from zoomexp.cli.predict import main
from zoomexp.errors import InputError

CLASSES = ("gull", "tern", "wren")


@pytest.fixture
def run(train, once, images_of, folders) -> Path:
    """A run on three kinds of birds, with a module that has a map."""

    def do(folder: Path) -> None:
        images_of(folder / "images", CLASSES)
        options = (f"data_dir={folder}", "dataset=image_folder", "dataset.image_size=16", "dataset.batch_size=4",
                   "attention=loupe", "trainer.max_epochs=1", "logger=none", "dataset.augment=none")  # fmt: skip
        ended = train(*options, f"output_dir={folder / 'out'}", base=())
        assert ended.code == 0, ended.err

    once("three birds", do)
    return folders()[0]


def predict(monkeypatch, capfd, *words: str) -> Ended:
    return run_script("predict", words, monkeypatch, capfd)


def test_a_notebook_names_what_the_test_named(run, tmp_path):
    predictor = zoomexp.load(run, device="cpu")
    files = sorted((tmp_path / "images" / "test").glob("*/*.png"))
    found = predictor(files, top=2)
    with np.load(run / "predictions.npz") as stored:
        assert [CLASSES.index(one.label) for one in found] == stored["top1"].tolist()
    assert predictor.classes == CLASSES and len(files) == 6
    for one in found:
        assert [name for name, _ in one.top] == [CLASSES[i] for i in one.probabilities.topk(2).indices]
        torch.testing.assert_close(one.probabilities.sum(), torch.tensor(1.0))
        (heat,) = one.maps.values()
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        side = heat.shape[0]
        peak = {"layer2/peak_x": (column + 0.5) / side, "layer2/peak_y": (row + 0.5) / side}
        assert one.statistics().items() >= peak.items() and one.statistics()["layer2/mean"] == float(heat.mean())
    alone = predictor(files[0])
    torch.testing.assert_close(alone.probabilities, found[0].probabilities)
    given = predictor(Image.open(files[0]))
    torch.testing.assert_close(given.probabilities, alone.probabilities, rtol=0, atol=0)
    with pytest.raises(InputError, match=r"nowhere\.png: no such file"):
        predictor("nowhere.png")
    with pytest.raises(InputError, match=r"score=0\.5: this run says classes; options of its own: top=, maps=, batch"):
        main([f"run={run}", f"images={files[0]}", "score=0.5"])


def test_a_folder_with_a_bad_file(run, tmp_path, monkeypatch, capfd):
    new = tmp_path / "new"
    (new / "deep").mkdir(parents=True)
    for name in ("b.png", "deep/a.png"):
        Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(new / name)
    (new / "bad.jpg").write_bytes(b"no image")
    (new / "notes.txt").write_text("no image either")
    code, out, err = predict(monkeypatch, capfd, f"run={run}", f"images={new}", "maps=true", "top=2")
    assert code == 0 and "2 images named, 1 left out" in out
    assert err.startswith("left out: ") and "bad.jpg" in err and err.count("\n") == 1
    rows = list(csv.DictReader((run / "predictions" / "predictions.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [str(new / "b.png"), str(new / "deep" / "a.png")]
    expected = zoomexp.load(run, device="cpu")(new / "b.png")
    assert (rows[0]["class_1"], rows[0]["class_2"]) == tuple(name for name, _ in expected.top[:2])
    assert float(rows[0]["probability_1"]) == pytest.approx(expected.probability, abs=1e-6)
    tree = json.loads((run / "predictions" / "predictions.json").read_text())
    assert [one["file"] for one in tree["images"]] == [row["file"] for row in rows]
    assert tree["left_out"][0]["file"] == str(new / "bad.jpg")
    maps = run / "predictions" / "maps"
    drawn = sorted(str(path.relative_to(maps)) for path in maps.rglob("*.png") if path.is_file())
    assert drawn == ["b.png/layer2.png", "deep/a.png/layer2.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"^Name what is in images"),
        (("images=.",), r"error: run: must be given"),
        (("run=nowhere", "images=."), r"error: images=\.: has no image files|error: run=nowhere: no run folder"),
        (("run=nowhere", "images=nothing*.jpg"), r"error: images=nothing\*\.jpg: no such file, folder or pattern"),
        (("run=nowhere", "images=.", "top=0"), r"error: top=0 must be a whole number, at least 1"),
        (("run=nowhere", "imagess=."), r"error: imagess=\.: not an option here; allowed: run="),
    ],
)
def test_mistakes(monkeypatch, capfd, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = predict(monkeypatch, capfd, *words)
    assert (code, err) == (0, "") if not words else code == 2 and err.count("\n") == 1
    assert re.search(message, out + err)
