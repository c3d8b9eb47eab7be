"""A detector's run on images that are not of its data set, and its boxes in COCO's formats."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("faster_coco_eval")

from faster_coco_eval import COCO, COCOeval_faster

import zoomexp
from tests.datasets.test_coco import layout
from tests.train.conftest import Ended, run_script
from zoomexp.metrics.detection import Precision, Said
from zoomexp.run.stored_run import data_of
from zoomexp.tasks.scene_batches import objects_in, scored_sizes

SCENES = ("experiment=zoomvit/digit_scenes", "tokens=uniform", "backbone=vit_digits", "backbone.depth=1",
          "trainer=smoke", "logger=none")  # fmt: skip
DIGITS = ("dataset.train_images=40", "dataset.test_images=9", "dataset.eval_batch_size=5")
ON_COCO = ("dataset=coco", "dataset.batch_size=2", "dataset.scales=[32,48]", "dataset.test_scale=48",
           "dataset.multiple=16", "dataset.val_fraction=0.3", "backbone.patch_size=8")  # fmt: skip


@pytest.fixture
def run(train, once, folders) -> Path:
    """A run on digit scenes."""

    def do(folder: Path) -> None:
        ended = train(*SCENES, *DIGITS, f"output_dir={folder / 'out'}", base=())
        assert ended.code == 0, ended.err

    once("scenes", do)
    return folders()[0]


@pytest.fixture
def script(monkeypatch, capfd):
    """`script("predict", ...)` runs a script."""

    def run(name: str, *words: str) -> Ended:
        return run_script(name, words, monkeypatch, capfd)

    return run


def saved(run: Path, folder: Path) -> list[Path]:
    """The run's test images as files."""
    folder.mkdir()
    files = []
    for number, pixels in enumerate(data_of(run).scenes("test").images[..., 0]):
        files.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    return files


def ap_of(truth: Path, found: Path) -> float:
    """By the library alone."""
    there = COCO(str(truth))
    scores = COCOeval_faster(there, there.loadRes(str(found)), iouType="bbox", print_function=lambda *words: None)
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    return 100 * float(scores.stats[0])


def nearly_right(run: Path, seed: int = 0) -> float:
    """Put boxes near the objects, some of them of another class, into the run's record; their AP by torchmetrics."""
    draw, metric, data = np.random.default_rng(seed), Precision(), data_of(run)
    with np.load(run / "predictions.npz") as stored:
        kept = dict(stored)
    images, n = kept["scores"].shape
    kept["scores"] = draw.random((images, n)).astype(np.float32)
    for image in range(images):
        batch = next(iter(data.scene_batches("test", np.array([image]), 1)))
        there = objects_in(batch, scored_sizes(batch))
        boxes, labels = (np.repeat(values.numpy(), 2, 0)[:n] for values in (there.boxes, there.labels))
        kept["boxes"][image, : len(boxes)] = boxes + draw.normal(0, 1.5, boxes.shape)
        kept["labels"][image, : len(boxes)] = labels * (draw.random(len(labels)) < 0.8)
        metric.update(Said(*(torch.from_numpy(kept[name][[image]]) for name in ("boxes", "scores", "labels"))), there)
    np.savez(run / "predictions.npz", **kept)
    ap = float(metric.compute()["ap"])
    facts = json.loads((run / "metrics.json").read_text())
    facts["metrics"]["test/ap"] = ap
    (run / "metrics.json").write_text(json.dumps(facts))
    return ap


def test_a_notebook_says_what_the_test_said(run, tmp_path):
    files, detector = saved(run, tmp_path / "new"), zoomexp.load(run, device="cpu")
    found = detector(files, least=0, batch_size=4)
    with np.load(run / "predictions.npz") as stored:
        for one, boxes, scores, labels in zip(
            found, *(stored[name] for name in ("boxes", "scores", "labels")), strict=True
        ):
            order = np.argsort(-scores, kind="stable")
            np.testing.assert_allclose(one.scores, scores[order], atol=1e-5)
            np.testing.assert_allclose(one.boxes, boxes[order], atol=1e-3)
            assert one.labels.tolist() == labels[order].tolist() and one.size == (48, 48)
            assert one.classes == tuple(str(label) for label in labels[order])
    least = float(found[0].scores[2])
    alone = detector(files[0], least=least)
    assert len(alone) == 3 == len(found[0].above(least)) and alone.name == str(files[0])
    torch.testing.assert_close(alone.boxes, found[0].boxes[:3])
    torch.testing.assert_close(detector(Image.open(files[0]), least=0).scores, found[0].scores)


def test_a_folder_with_a_bad_file(run, tmp_path, script):
    files = saved(run, tmp_path / "new")
    (tmp_path / "new" / "bad.jpg").write_bytes(b"no image")
    expected = zoomexp.load(run, device="cpu")(files, least=0)
    least = sorted(float(score) for one in expected for score in one.scores)[-20]
    code, out, err = script("predict", f"run={run}", f"images={tmp_path / 'new'}", f"score={least:.9g}", "device=cpu")
    assert code == 0 and re.search(r"^(19|20) boxes .* in 9 images seen, 1 left out: ", out), out
    assert err.startswith("left out: ") and "bad.jpg" in err and err.count("\n") == 1
    rows = list(csv.DictReader((run / "predictions" / "predictions.csv").read_text().splitlines()))
    told = [(one.name, name, score, box) for one in expected
            for name, score, box in zip(one.classes, one.scores.tolist(), one.boxes.tolist(), strict=True)
            if score >= least]  # fmt: skip
    assert [(row["file"], row["label"]) for row in rows] == [(name, label) for name, label, *_ in told][: len(rows)]
    for row, (_, _, score, box) in zip(rows, told, strict=False):
        assert float(row["score"]) == pytest.approx(score, abs=1e-5)
        assert [float(row[edge]) for edge in ("x0", "y0", "x1", "y1")] == pytest.approx(box, abs=0.02)
    tree = json.loads((run / "predictions" / "predictions.json").read_text())
    assert [one["file"] for one in tree["images"]] == [str(file) for file in files]
    assert tree["images"][0]["width"] == 48 and tree["left_out"][0]["file"] == str(tmp_path / "new" / "bad.jpg")
    assert sum(len(one["boxes"]) for one in tree["images"]) == len(rows)


def test_stored_boxes_in_cocos_format_have_the_runs_ap(run, script, tmp_path):
    ap = nearly_right(run)
    assert 5 < ap < 95
    code, out, err = script("export", f"run={run}", "format=coco")
    assert (code, err) == (0, "") and f"72 boxes, to be scored against {run}" in out and f"AP read back {ap:.2f}" in out
    truth, found = run / "export" / "annotations.json", run / "export" / "detections.json"
    assert ap_of(truth, found) == pytest.approx(ap, rel=1e-6)
    scenes, text = data_of(run).scenes("test"), json.loads(truth.read_text())
    assert [one["category_id"] for one in text["annotations"]] == scenes.labels.tolist()
    assert [
        [x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in text["annotations"])
    ] == scenes.boxes.tolist()
    facts = json.loads((run / "metrics.json").read_text())
    facts["metrics"]["test/ap"] += 1
    (run / "metrics.json").write_text(json.dumps(facts))
    code, _, err = script("export", f"run={run}", "format=coco", f"out={tmp_path}/other")
    assert code == 2 and re.search(r"error: export: AP read back is .*, the run's .*Not kept\n$", err)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["annotations.json"]


def test_new_boxes_in_cocos_format_have_its_ids(run, script, tmp_path):
    files = saved(run, tmp_path / "new")
    assert script("export", f"run={run}", "format=coco")[0] == 0
    text = json.loads((run / "export" / "annotations.json").read_text())
    for one in text["images"]:
        one["file_name"] += ".png"
    for one in text["annotations"]:
        one["category_id"] += 7
    for one in text["categories"]:
        one["id"] += 7
    (tmp_path / "a.json").write_text(json.dumps(text))
    words = (f"run={run}", f"images={tmp_path / 'new'}", f"coco={tmp_path / 'a.json'}", "device=cpu")
    code, out, err = script("predict", *words)
    assert (code, err) == (0, "") and out.strip().endswith("detections.json")
    found = json.loads((run / "predictions" / "detections.json").read_text())
    stored = json.loads((run / "export" / "detections.json").read_text())
    key = lambda one: (one["image_id"], -one["score"])  # noqa: E731
    assert len(found) == len(stored) == 9 * 8
    for one, two in zip(sorted(found, key=key), sorted(stored, key=key), strict=True):
        assert (one["image_id"], one["category_id"]) == (two["image_id"], two["category_id"] + 7)
        assert one["bbox"] == pytest.approx(two["bbox"], abs=1e-3) and one["score"] == pytest.approx(
            two["score"], abs=1e-5
        )
    ap_of(tmp_path / "a.json", run / "predictions" / "detections.json")  # the library reads it
    Image.open(files[0]).save(tmp_path / "new" / "10.png")
    code, _, err = script("predict", *words)
    assert code == 2 and f"does not list {tmp_path / 'new' / '10.png'}; are the annotations another split's?" in err


def test_a_run_on_cocos_layout(train, folders, script, tmp_path):
    layout(tmp_path)
    ended = train(*SCENES, *ON_COCO, f"data_dir={tmp_path}", base=())
    assert ended.code == 0, ended.err
    assert "data: 2 classes; train 5 images (" in ended.out
    (run,) = folders()
    ap = nearly_right(run, 1)
    code, out, err = script("export", f"run={run}", "format=coco")
    truth = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    assert (code, err) == (0, "") and f"against {truth}; AP read back {ap:.2f}" in out
    found = json.loads((run / "export" / "detections.json").read_text())
    assert {one["image_id"] for one in found} == {0, 10, 20, 30} and not (run / "export" / "annotations.json").exists()
    pictures = tmp_path / "coco" / "val2017"
    code, out, err = script("predict", f"run={run}", f"images={pictures}", f"coco={truth}", "score=0", "device=cpu")
    assert (code, err) == (0, "") and "in 7 images seen" in out
    tree = json.loads((run / "predictions" / "predictions.json").read_text())
    assert [(one["width"], one["height"]) for one in tree["images"][:3]] == [(64, 48), (40, 72), (80, 80)]
    assert "file" in (run / "predictions.csv").read_text().splitlines()[0]
    truth.unlink()
    assert "not read back" in script("export", f"run={run}", "format=coco").out


def test_a_run_on_cocos_layout_whose_boxes_were_read_otherwise_than_they_stand_there(train, folders, script, tmp_path):
    """One is cut, one is left out, one has no area: the file that is written has what was scored."""

    def change(text):
        text["annotations"][0].update(bbox=[-30, 8, 50, 90])
        text["annotations"][2].update(bbox=[4, 8, 0, 20])
        text["annotations"][3].pop("area")

    layout(tmp_path, change=change)
    kept = tmp_path / "coco" / "annotations"
    shutil.copy(kept / "instances_train2017.json", kept / "instances_val2017.json")
    ended = train(*SCENES, *ON_COCO, f"data_dir={tmp_path}", base=())
    assert ended.code == 0, ended.err
    (run,) = folders()
    ap = nearly_right(run, 1)
    code, out, err = script("export", f"run={run}", "format=coco")
    truth = run / "export" / "annotations.json"
    assert (code, err) == (0, "") and f"against {truth}; AP read back {ap:.2f}" in out
    text = json.loads(truth.read_text())
    assert [one["id"] for one in text["images"]] == list(range(0, 70, 10)) and len(text["annotations"]) == 7
    assert text["images"][1] == {"id": 10, "file_name": "001.png", "width": 40, "height": 72}
    assert [(one["image_id"], one["bbox"], one["area"], one["iscrowd"]) for one in text["annotations"][:3]] == [
        (10, [0, 8, 20, 64], 120, 0), (10, [10, 30, 20, 10], 100, 1), (20, [20, 8, 12, 21], 252, 0)]  # fmt: skip


def test_mistakes(run, tmp_path, script):
    saved(run, tmp_path / "new")
    for words, message in (
        (("top=3",), "top=3: this run says boxes; options of its own: score=, coco=, batch_size="),
        (("score=2",), "score=2 must be a number from 0 to 1"),
        (("coco=nowhere.json",), r"coco=nowhere\.json: no such file"),
        (("maps=yes",), "maps=yes is unknown; allowed: true, false"),
    ):
        code, _, err = script("predict", f"run={run}", f"images={tmp_path / 'new'}", *words)
        assert code == 2 and err.count("\n") == 1 and re.search(message, err)
        assert not (run / "predictions").exists()
