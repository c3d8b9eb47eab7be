"""Detection: the contract, scores by hand, all forms of batches, what does not fit, and a run from end to end."""

import inspect
import json
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from timm.models import VisionTransformer
from torch import nn

pytest.importorskip("faster_coco_eval")

from tests.datasets.test_coco import layout
from tests.datasets.test_cub200 import CLASSES, lay_out
from zoomexp.boxes import Detections
from zoomexp.cli.main import main
from zoomexp.datasets.cub200 import LAYOUT
from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.losses.set_prediction import SetPrediction
from zoomexp.metrics.average_precision import of_predictions
from zoomexp.metrics.quantity import find
from zoomexp.optimizer import make_optimizer
from zoomexp.results.predictions import Predictions
from zoomexp.run.prepare import check_ready
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.contract import Task
from zoomexp.tasks.detection import Detection
from zoomexp.tokens.scorers.boxes import Boxes
from zoomexp.tokens.yolos import YOLOS
from zoomexp.tokens.zoomvit import ZoomViT

K, N = 3, 5
BOXES = torch.tensor([[2.0, 4, 10, 12], [16, 0, 24, 16], [0, 0, 32, 24]])


def detector():
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=32, patch_size=8, in_chans=1, num_classes=3, embed_dim=24, depth=2, num_heads=2)
    return YOLOS(vit, num_classes=K, boxes=N)


def task(model=None, kind=Detection, **options):
    optimizer = partial(make_optimizer, opt="adamw", lr=3e-3)
    given = {"loss": SetPrediction(), "optimizer": optimizer, "scheduler": None, "num_classes": K, "seed": 0}
    return kind(model=detector() if model is None else model, **given | options)


def batch():
    """Two objects, none, one; images of two sizes."""
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": images, "size": torch.tensor([[32, 32], [24, 32], [24, 32]]), "index": torch.tensor([2, 0, 1]),
            "count": torch.tensor([2, 0, 1]), "boxes": BOXES, "labels": torch.tensor([0, 2, 1])}  # fmt: skip


def the_truth(crowd=False):
    """Outputs that say the truth of `batch`, surely; other boxes are surely nothing."""
    logits, boxes = torch.full((3, N, K + 1), -20.0), torch.full((3, N, 4), 0.1)
    logits[..., -1] = 0
    said = [(0, 0, 0, [6, 8, 8, 8]), (0, 1, 2, [20, 8, 8, 16]), (2, 3, 1, [16, 16, 32, 32])]
    for image, place, label, box in said:
        logits[image, place] = -20.0
        logits[image, place, label] = 0
        boxes[image, place] = torch.tensor(box) / 32
    return Detections(logits, boxes)


def test_it_keeps_the_contract():
    one, given = task(), batch()
    members = {name for name, member in vars(Task).items() if inspect.isfunction(member) and name[0] != "_"}
    for name in members - {"__init__"}:
        asked = list(inspect.signature(getattr(Task, name)).parameters)
        assert list(inspect.signature(getattr(Detection, name)).parameters) == asked, name
    prepared, targets = one.prepared(given)
    outputs = one.outputs(prepared)
    terms = one.losses(outputs, targets, 0.5)
    assert set(terms) == {"class", "box", "giou"} and all(value.requires_grad for value in terms.values())
    for split in ("val", "test"):
        one.score(split, outputs, targets, given)
        kept, found = one.outcomes(outputs, targets), one.results(split)
        assert all(find(name, one.quantities) for name in found) and f"{split}/ap" in found
    assert all(len(values) == 3 for values in kept.values()) and one.explained(given) is None
    assert one.main in one.quantities and one.hits(outputs, targets) == {}


def test_the_truth_itself_has_all_of_it():
    one, given = task(), batch()
    targets = one.targets(given)
    one.score("test", the_truth(), targets, given)
    kept = {name: values.numpy() for name, values in one.outcomes(the_truth(), targets).items()}
    assert of_predictions(Predictions(kept)) == pytest.approx(100)
    found = one.results("test")
    assert {name: float(value) for name, value in found.items() if "ap" in name or "ar" in name} == pytest.approx(
        dict.fromkeys(("test/ap", "test/ap50", "test/ap75", "test/ap_small", "test/ar100"), 100.0)
    )
    losses = one.losses(the_truth(), targets, 0.0)
    assert float(losses["box"]) == pytest.approx(0, abs=1e-6) and float(losses["giou"]) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(kept["boxes"][2, 3], BOXES[2])
    np.testing.assert_array_equal(kept["objects"], [[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert (kept["found"].sum(1) == [[2] * 10, [0] * 10, [1] * 10]).all()


def test_crowds_are_not_learnt_and_boxes_in_them_count_neither_way():
    given = batch() | {"crowd": torch.tensor([0, 1, 0])}
    one = task()
    targets = one.targets(given)
    assert targets.counts == [1, 0, 1] and targets.labels.tolist() == [0, 1]
    one.score("test", the_truth(), targets, given)
    assert one.outcomes(None, None)["found"][0, :2, 0].tolist() == [1, 2]
    assert float(one.results("test")["test/ap"]) == pytest.approx(100)


def test_boxes_are_scored_in_pixels_of_the_file():
    given = batch() | {"file_size": 3 * batch()["size"]}
    one = task()
    one.score("test", the_truth(), one.targets(given), given)
    torch.testing.assert_close(one.outcomes(None, None)["boxes"][0, 1], 3 * BOXES[1])
    found = one.results("test")
    assert float(found["test/ap"]) == pytest.approx(100) and "test/ap_medium" in found  # 24 x 48 pixels there


def test_pictures_have_the_objects_and_the_sure_boxes():
    one, given = task(), batch()
    one.score("val", the_truth(), one.targets(given), given)
    data = SimpleNamespace(mean=[0.0], std=[1.0], classes=("a", "b", "c"))
    drawn = one.pictures({**given, "image": torch.zeros(3, 1, 32, 32)}, 2, data)["boxes"]
    assert drawn.shape == (2, 3, 224, 224)
    yellow = (drawn[0] - torch.tensor([255, 220, 0]).view(3, 1, 1) / 255).abs().amax(0) < 0.01
    edges = [(int(7 * y), int(7 * x)) for x0, y0, x1, y1 in BOXES[:2].tolist() for y, x in ((y0, x0), (y0, x1 - 0.1))]
    assert all(yellow[place] for place in edges) and not drawn[1].any()  # the second image has nothing


def test_images_of_one_object_each():
    given = {"image": torch.randn(3, 1, 32, 32), "index": torch.arange(3), "label": torch.tensor([1, 0, 2]),
             "box": torch.stack([BOXES[0], torch.tensor([32.0, 4, 32, 8]), BOXES[1]])}  # fmt: skip
    one = task()
    targets = one.targets(given)
    assert targets.counts == [1, 0, 1] and targets.labels.tolist() == [1, 2]  # one was cropped away
    torch.testing.assert_close(targets.boxes[0], torch.tensor([6 / 32, 8 / 32, 8 / 32, 8 / 32]))
    assert one.outputs(given).boxes.shape == (3, N, 4)


def test_a_few_images_are_learnt_by_heart():
    one, given = task(), batch()
    optimizer = torch.optim.AdamW(one.model.parameters(), 3e-3)
    first = None
    for _ in range(60):
        loss = sum(one.losses(one.outputs(given), one.targets(given), 0.0).values())
        first = float(loss.detach()) if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: task(nn.Linear(2, 2)), "task=detection: the network says no boxes; choose detector=yolos"),
        (lambda: task(loss=CrossEntropy()), "loss=CrossEntropy: compares no boxes; choose loss=set_prediction"),
        (lambda: task(mixing=len), "mixing: images with boxes are not mixed; mixing=none"),
        (lambda: task(kind=Classifier), "detector=yolos: says boxes, not classes; choose task=detection"),
    ],
)
def test_refusals(act, message):
    with pytest.raises(InputError, match=message):
        act()


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("zoomexp.metrics.detection.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'zoomexp\[detection\]'"):
        task()


def test_a_run_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    words = [
        "train",
        "experiment=zoomvit/digit_scenes",
        "trainer=smoke",
        f"output_dir={tmp_path}",
        "logger=none",
        "tokens=uniform",
    ]
    assert main(
        [*words, "backbone=vit_digits", "dataset.train_images=40", "dataset.test_images=9", "dataset.eval_batch_size=5"]
    ) in (None, 0)
    (record,) = tmp_path.glob("runs/*/*/*/metrics.json")
    facts = json.loads(record.read_text())
    assert facts["main"] == "ap" and facts["cost"]["params"] == 225_295
    assert {"test/ap", "test/ap50", "test/ar100", "test/tokens", "val/ap_best"} <= facts["metrics"].keys()
    with np.load(record.parent / "predictions.npz") as stored:
        kept = dict(stored)
    np.testing.assert_array_equal(kept["index"], np.arange(9))
    assert kept["boxes"].shape == (9, 8, 4) and kept["found"].shape == (9, 8, 10)
    assert of_predictions(kept) == pytest.approx(facts["metrics"]["test/ap"], abs=1e-3)
    for command in ("evaluate", "export"):
        message = "says boxes, not classes; scripts/predict.py takes it, and scripts/export.py format=coco"
        with pytest.raises(InputError, match=message):
            import_module(f"zoomexp.cli.{command}").main([f"run={record.parent}"])
    assert facts["classes"] == list("0123456789") and facts["seeing"]["short"] == 48
    assert facts["data"]["images"] == {"train": 36, "val": 4, "test": 9}
    held = json.loads((record.parent / "data.json").read_text())["splits"]["test"]
    assert sum(held["objects"].values()) == kept["objects"].sum() and held["without objects"] == 0


def trained(tmp_path, *words):
    small = ["backbone=vit_digits", "backbone.depth=1", "trainer=smoke", "logger=none", f"output_dir={tmp_path}"]
    assert main(["train", "experiment=zoomvit/digit_scenes", "tokens=uniform", *small, *words]) in (None, 0)
    (record,) = tmp_path.glob("runs/*/*/*/metrics.json")
    return json.loads(record.read_text()), dict(np.load(record.parent / "predictions.npz"))


def test_a_run_on_cocos_layout(tmp_path):
    """Images of several sizes, some without objects, crowds; and tokens that a random scorer chooses."""
    layout(tmp_path)
    sizes = ["dataset.scales=[32,48]", "dataset.test_scale=48", "dataset.multiple=16", "dataset.val_fraction=0.3"]
    zoom = ["tokens=zoomvit", "tokens/scorer=random", "tokens.budget=2"]
    facts, kept = trained(tmp_path, "dataset=coco", f"data_dir={tmp_path}", "dataset.batch_size=2", *sizes, *zoom)
    assert kept["image_id"].tolist() == [0, 10, 20, 30] and kept["objects"].shape == (4, 4)  # two batches of two
    assert kept["objects"].sum(0).tolist() == [0, 3, 0, 0]  # the crowd is none
    assert facts["metrics"]["test/tokens"] == pytest.approx(9 + np.mean([12, 8, 9, 12]) + 6)
    assert of_predictions(kept) == pytest.approx(facts["metrics"]["test/ap"], abs=1e-3)


def test_a_run_on_cocos_layout_with_a_zoomer(tmp_path):
    """Its work is counted over all images, whatever the batch; the Zoomer's own part is the same for each."""
    layout(tmp_path)
    sizes = ["dataset.scales=[32,48]", "dataset.test_scale=48", "dataset.multiple=16", "dataset.val_fraction=0.3"]
    zoom = ["tokens=zoomvit", "tokens/scorer=zoomer", "tokens.scorer.checkpoint=null", "tokens.test_alpha=0.5"]
    data = ["dataset=coco", f"data_dir={tmp_path}", "dataset.batch_size=2", "dataset.eval_batch_size=2"]
    facts, kept = trained(tmp_path, *data, *sizes, *zoom)
    assert kept["image_id"].tolist() == [0, 10, 20, 30] and 9 + 8 <= facts["metrics"]["test/tokens"] <= 9 + 48
    held = facts["cost"]
    assert 0 < held["macs_scorer"] < held["macs"] and held["macs_spread"] > 0
    assert 0 < held["scorer_params"] < held["params"] - held["trainable_params"] + 1
    assert of_predictions(kept) == pytest.approx(facts["metrics"]["test/ap"], abs=1e-3)


def test_a_run_on_birds(tmp_path):
    """CUB's own box is the one object of an image; its photographs are seen as for classification."""
    lay_out(tmp_path / "data" / LAYOUT)
    look = ["dataset.image_size=48", "dataset.batch_size=2", "dataset.eval_batch_size=3", "dataset.num_workers=0"]
    facts, kept = trained(tmp_path, "dataset=cub200", f"data_dir={tmp_path / 'data'}", *look)
    assert facts["metrics"]["test/ap"] >= 0 and kept["objects"].sum(1).tolist() == [1] * 4
    assert kept["objects"].shape == (4, 2) and facts["classes"] == list(CLASSES.values())
    assert kept["boxes"].shape == (4, 8, 4) and of_predictions(kept) == pytest.approx(
        facts["metrics"]["test/ap"], abs=1e-3
    )


def test_an_oracle_is_told_the_boxes_and_only_a_detector_can_be(tmp_path):
    made = ["dataset.train_images=40", "dataset.test_images=8", "dataset.image_size=48"]
    oracle = ["tokens=zoomvit", "tokens/scorer=boxes"]
    facts, kept = trained(tmp_path, "dataset=cluttered_digits", *made, *oracle)
    assert kept["objects"].sum(1).tolist() == [1] * 4
    assert 9 + 9 + 3 <= facts["metrics"]["test/tokens"] < 9 + 36 and facts["cost"]["macs"] > 0
    net = ZoomViT(VisionTransformer(img_size=32, patch_size=8, in_chans=1, embed_dim=24, depth=1, num_heads=2,
                                    num_classes=3), scorer=Boxes, image_size=32)  # fmt: skip
    with pytest.raises(InputError, match=r"tokens\.scorer=boxes: needs the images' boxes; choose task=detection"):
        check_ready(None, SimpleNamespace(model=net), None, None, "best")


def test_a_run_on_images_of_one_object_each(tmp_path):
    made = ["dataset.train_images=40", "dataset.test_images=8", "dataset.image_size=48"]
    facts, kept = trained(tmp_path, "dataset=cluttered_digits", *made)
    assert kept["objects"].sum(1).tolist() == [1] * 4 and "test/ap" in facts["metrics"]
