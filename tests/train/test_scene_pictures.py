"""A detector's boxes in pictures: in the loggers, in a sheet as it trains, in W&B's overlays, and drawn later."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("faster_coco_eval")

from tests.train.conftest import run_script
from zoomexp.results.report.figures import pictures
from zoomexp.results.report.runs import read_runs

WORDS = ("experiment=zoomvit/digit_scenes", "backbone=vit_digits", "backbone.depth=1", "trainer=smoke", "logger=wandb",
         "tokens/scorer=gradient_magnitude", "tokens.test_alpha=0.3", "dataset.train_images=40",
         "dataset.test_images=6", "dataset.eval_batch_size=3", "callbacks.pictures.sheets=true",
         "callbacks.pictures.count=2")  # fmt: skip


def test_a_run_is_drawn_everywhere(train, folders, monkeypatch, capfd, tmp_path):
    ended = train(*WORDS, base=())
    assert ended.code == 0, ended.err
    (folder,) = folders()
    with np.load(folder / "predictions.npz") as stored:
        kept = dict(stored)
    with Image.open(folder / "figures" / "epoch0.png") as sheet:
        assert sheet.size[0] > 500  # boxes, and boxes over patches
    (media,) = folder.glob("wandb/offline-run-*/files/media")
    assert len(list(media.glob("images/boxes_*"))) == 2 == len(list(media.glob("images/patches_*")))
    overlays = [json.loads(path.read_text()) for path in sorted(media.glob("metadata/boxes2D/detections*"))]
    assert len(overlays) == 12  # of six images two layers each
    there = [one["box_data"] for one in overlays if not any("scores" in box for box in one["box_data"])]
    counts = kept["objects"].sum(1).tolist()
    assert all(len(one) in {*counts, 0} for one in there)
    said = [box for one in overlays for box in one["box_data"] if "scores" in box]
    assert len(said) == int((kept["scores"] >= 0.05).sum())
    expected = sorted(round(float(score), 5) for score in kept["scores"][kept["scores"] >= 0.05])
    assert sorted(round(box["scores"]["score"], 5) for box in said) == expected
    assert all(0 <= edge <= 1 for box in said for edge in box["position"].values())
    code, out, err = run_script("visualize", (f"run={folder}", "count=3"), monkeypatch, capfd)
    assert (code, err) == (0, "") and out.strip() == str(folder / "figures" / "contact_sheet.png")
    Image.new("RGB", (60, 90)).save(tmp_path / "new.png")
    words = (f"run={folder}", f"images=2,{tmp_path / 'new.png'},{tmp_path / 'none.png'}", f"out={tmp_path / 'drawn'}")
    code, out, err = run_script("visualize", words, monkeypatch, capfd)
    assert code == 0 and "none.png: no such file" in err and (tmp_path / "drawn" / "contact_sheet.png").is_file()
    runs, _ = read_runs(tmp_path / "out" / "runs")
    assert [one.name for one in pictures(runs[0], [])] == ["contact_sheet.png", "epoch0.png"]
    for word, said_of_it in (
        ("images=worst", "images=worst: an image of several"),
        ("baseline=x", "baseline=x: a detector"),
    ):
        code, _, err = run_script("visualize", (f"run={folder}", word), monkeypatch, capfd)
        assert code == 2 and said_of_it in err and err.count("\n") == 1
