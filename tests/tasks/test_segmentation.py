"""Segmentation: the contract, scores of the truth, what does not fit, and a run from end to end."""

import inspect
import json
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from zoomexp.attention.attzoom import AttZoom
from zoomexp.backbones.from_timm import from_timm
from zoomexp.cli.main import main
from zoomexp.datasets.digit_masks import DigitMasks
from zoomexp.datasets.with_maps import WithMaps
from zoomexp.decoders.fcn import fcn
from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.losses.cross_entropy_dice import CrossEntropyDice
from zoomexp.metrics.quantity import find
from zoomexp.metrics.segmentation import boundary_iou, dice, miou, pixel_accuracy
from zoomexp.model import build_model
from zoomexp.optimizer import make_optimizer
from zoomexp.results.comparison import compare
from zoomexp.results.predictions import Predictions
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.contract import Task
from zoomexp.tasks.detection import Detection
from zoomexp.tasks.segmentation import Segmentation

K = 3
MEASURES = {"miou": miou, "acc_pixel": pixel_accuracy, "dice_score": dice, "boundary_iou": boundary_iou}


def segmenter(attention=None):
    torch.manual_seed(0)
    return build_model(partial(from_timm, "test_resnet"), num_classes=K, in_chans=1, image_size=32, attention=attention,
                       decoder=partial(fcn, features=5))  # fmt: skip


def task(model=None, kind=Segmentation, **options):
    optimizer = partial(make_optimizer, opt="adamw", lr=3e-3)
    given = {"loss": CrossEntropyDice(), "optimizer": optimizer, "scheduler": None, "num_classes": K, "seed": 0}
    return kind(model=segmenter() if model is None else model, **given | options)


def batch(images=4):
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(0, K, (images, 4, 4), generator=draw).repeat_interleave(8, 1).repeat_interleave(8, 2)
    label[0, :3] = 255
    noise = torch.randn(images, 1, 32, 32, generator=draw)
    return {"image": label[:, None].clamp(max=K) + 0.1 * noise, "index": torch.arange(images),
            "pixel_label": label.to(torch.uint8)}  # fmt: skip


def the_truth(given):
    return nn.functional.one_hot(given["pixel_label"].long().clamp(max=K), K + 1)[..., :K].permute(0, 3, 1, 2) * 20.0


def test_it_keeps_the_contract():
    one, given = task(), batch()
    members = {name for name, member in vars(Task).items() if inspect.isfunction(member) and name[0] != "_"}
    for name in members - {"__init__"}:
        asked = list(inspect.signature(getattr(Task, name)).parameters)
        assert list(inspect.signature(getattr(Segmentation, name)).parameters) == asked, name
    prepared, targets = one.prepared(given)
    outputs = one.outputs(prepared)
    terms = one.losses(outputs, targets, 0.5)
    assert set(terms) == {"cross_entropy", "dice"} and all(value.requires_grad for value in terms.values())
    assert all(find(name, one.quantities) for name in terms)
    for split in ("val", "test"):
        one.score(split, outputs, targets, given)
        kept, found = one.outcomes(outputs, targets), one.results(split)
        assert set(found) == {f"{split}/{name}" for name in MEASURES}
        assert all(find(name, one.quantities) for name in found)
    assert all(values.shape == (4, K) for values in kept.values()) and one.explained(given) is None
    assert one.main in one.quantities and one.hits(outputs, targets) == {}


def test_the_truth_itself_has_all_of_it():
    one, given = task(), batch()
    one.score("test", the_truth(given), one.targets(given), given)
    assert {float(value) for value in one.results("test").values()} == {100.0}


def test_a_second_epoch_begins_anew():
    one, given = task(), batch()
    wrong = the_truth(given).roll(1, 1)
    one.score("val", wrong, one.targets(given), given)
    assert float(one.results("val")["val/miou"]) == 0
    one.score("val", the_truth(given), one.targets(given), given)
    assert float(one.results("val")["val/miou"]) == 100


def test_maps_are_penalised():
    one, given = task(segmenter(AttZoom), loss=CrossEntropyDice(sparsity=1.0)), batch()
    outputs = one.outputs(given)
    (heat,) = (module.module.map for module in one.model.inserted.values())
    torch.testing.assert_close(one.losses(outputs, one.targets(given), 0.0)["sparsity"], heat.mean())


def test_a_few_images_are_learnt_by_heart():
    one, given = task(), batch()
    optimizer = torch.optim.AdamW(one.model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = sum(one.losses(one.outputs(given), one.targets(given), 0.0).values())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: task(nn.Linear(2, 2)), "task=segmentation: the network says no pixels; choose decoder="),
        (lambda: task(loss=CrossEntropy()), "loss=CrossEntropy: compares no pixels; choose loss=cross_entropy_dice"),
        (lambda: task(mixing=len), "mixing: images with masks are not mixed; mixing=none"),
        (lambda: task(loss=CrossEntropyDice(sparsity=1.0)), r"loss\.sparsity: needs a module with a map"),
        (lambda: task(kind=Classifier), "decoder: says the class of every pixel, not of images"),
        (lambda: task(nn.Linear(2, 2), Classifier), "loss=CrossEntropyDice: compares pixels, not images"),
        (lambda: task(kind=Detection), "task=detection: the network says no boxes"),
    ],
)
def test_refusals(act, message):
    with pytest.raises(InputError, match=message):
        act()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A smoke run's folder."""
    folder = tmp_path_factory.mktemp("runs")
    small = ["dataset.train_images=40", "dataset.test_images=9", "dataset.eval_batch_size=5", "dataset.batch_size=8"]
    words = ["train", "experiment=attzoom/digit_masks", "trainer=smoke", f"output_dir={folder}", "logger=none", *small]
    assert main(words) in (None, 0)
    (record,) = folder.glob("runs/*/*/*/metrics.json")
    return record.parent


def test_a_run_from_end_to_end(run):
    facts = json.loads((run / "metrics.json").read_text())
    assert facts["main"] == "miou" and facts["shape"] == {"num_classes": 11, "in_chans": 1, "image_size": 48}
    with np.load(run / "predictions.npz") as stored:
        kept = dict(stored)
    np.testing.assert_array_equal(kept["index"], np.arange(9))
    assert kept["truth"].sum() == 9 * 48 * 48
    for name, measure in MEASURES.items():
        assert measure(kept) == pytest.approx(facts["metrics"][f"test/{name}"], abs=1e-3)
    assert facts["metrics"]["val/miou_best"] >= 0 and facts["cost"]["insertion_sites"] == ["maxpool"]
    assert facts["classes"][:2] == ["background", "0"] and facts["seeing"]["side"] == 48
    assert facts["data"]["images"] == {"train": 36, "val": 4, "test": 9}
    table = pd.read_csv(run / "classes.csv")
    assert list(table["class"]) == facts["classes"] and table["pixels"].sum() == 9 * 48 * 48


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_what_needs_a_classifier_says_so(run, command):
    with pytest.raises(InputError, match="says the classes of pixels, not of images"):
        import_module(f"zoomexp.cli.{command}").main([f"run={run}"])


def test_two_systems_are_compared_by_drawing_images():
    given = batch(8)
    one, other = task(), task()
    for which, outputs in ((one, the_truth(given)), (other, the_truth(given).roll(1, 0))):
        which.score("test", outputs, which.targets(given), given)
    sides = [[Predictions({name: values.numpy() for name, values in which.outcomes(None, None).items()})]
             for which in (one, other)]  # fmt: skip
    found = compare("test/miou", find("miou", one.quantities), *sides)
    assert found.low > 0 and found.p_value < 0.05


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("dataset=digits", "task=segmentation"),
            "its images have no classes of their pixels; choose digit_masks or oxford_pet",
        ),
        (("dataset=digit_masks",), "every pixel of its images has a class, and no image; choose task=segmentation"),
    ],
)
def test_data_that_do_not_fit(tmp_path, capfd, words, said):
    base = ["attention=none", "recipe=none", "trainer=smoke", "logger=none", f"output_dir={tmp_path}"]
    with pytest.raises(SystemExit) as caught:
        main(["train", *base, *words])
    assert caught.value.code == 2 and said in capfd.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.glob("runs/*/*/*/metrics.json"))


def test_maps_of_a_teacher_are_of_one_class_an_image():
    with pytest.raises(InputError, match="relevance: explains one class an image, and these have many"):
        WithMaps(DigitMasks(data_dir="", batch_size=1, mean=[0.0], std=[1.0]), teacher=None, method=None, folder="")


def test_a_user_sees_the_maps():
    one, given = task(segmenter(AttZoom)), batch()
    one.score("val", one.outputs(given), one.targets(given), given)
    drawn = one.pictures(given, 2, SimpleNamespace(mean=[0.0], std=[1.0], classes=("a", "b", "c")))
    assert {name: one.shape[:2] for name, one in drawn.items()} == dict.fromkeys(
        ("truth", "said", "maps/maxpool"), (2, 3)
    )
