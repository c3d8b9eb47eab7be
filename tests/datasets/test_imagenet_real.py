"""ReaL's labels of ImageNet's validation images: whose label is whose, and what counts as right."""

import json
import warnings
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from tests.datasets.test_imagenet_a import PLACES, SMALL, Brightness
from zoomexp.datasets.imagenet_real import ImageNetReal, read_labels
from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.metrics.declared import REAL_ACC1
from zoomexp.metrics.label_sets import among, real_accuracy
from zoomexp.optimizer import make_optimizer
from zoomexp.results.comparison import compare
from zoomexp.results.predictions import Predictions
from zoomexp.results.statistics import paired_bootstrap
from zoomexp.run.fit import gathered
from zoomexp.tasks.classification import Classifier

# By the images' numbers; the folders' order is another.
REAL = [[6, 22], [], [999], [6], [22, 999, 6], [5]]
NUMBERS = {"n01498041": (4, 1), "n01614925": (2, 6), "n15075141": (5, 3)}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(ImageNetReal, "counts", (3, 6))


@pytest.fixture
def root(tmp_path):
    """Six images, as bright as their number."""
    for wnid, numbers in NUMBERS.items():
        folder = tmp_path / "ILSVRC" / "val" / wnid
        folder.mkdir(parents=True)
        for number in numbers:
            Image.fromarray(np.full((20, 30), 40 * number, np.uint8)).save(folder / f"ILSVRC2012_val_{number:08d}.JPEG")
    (tmp_path / "ILSVRC" / "real.json").write_text(json.dumps(REAL))
    return tmp_path


def ready(root, **options):
    data = ImageNetReal(data_dir=root, **SMALL | options)
    data.setup()
    return data


@pytest.mark.parametrize("name", ["val", "validation"])
def test_an_images_labels_are_those_of_its_number(root, name):
    (root / "ILSVRC" / "val").rename(root / "ILSVRC" / name)
    data = ready(root)
    batches = list(data.test_dataloader())
    sets = torch.cat([batch["label_sets"] for batch in batches])
    numbers = (torch.cat([batch["image"] for batch in batches]).mean((1, 2, 3)) * 255 / 40).round().int().tolist()
    assert numbers == [1, 4, 2, 6, 3, 5]
    assert [[one for one in row if one >= 0] for row in sets.tolist()] == [REAL[number - 1] for number in numbers]
    assert torch.cat([batch["label"] for batch in batches]).tolist() == [p for p in PLACES.values() for _ in range(2)]
    assert len(data.part("train")) == 0


def test_other_labels_are_other_data(root):
    before = ready(root).part("test").fingerprint()
    (root / "ILSVRC" / "real.json").write_text(json.dumps([[1], *REAL[1:]]))
    assert ready(root).part("test").fingerprint() != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1], [2]]", r"real\.json must be a list of 6 lists of classes, 0 to 999"),
        (json.dumps([*REAL[1:], [1000]]), "must be a list of 6 lists"),
        (json.dumps([*REAL[1:], 5]), "must be a list of 6 lists"),
        ("[[1", r"real\.json cannot be read"),
    ],
)
def test_a_file_of_labels_that_is_not_whole(root, content, message):
    (root / "ILSVRC" / "real.json").write_text(content)
    with pytest.raises(InputError, match=f"^dataset=imagenet_real: .*{message}") as error:
        ready(root)
    assert "\n" not in str(error.value)


def test_what_is_not_there_or_called_otherwise(root, tmp_path):
    with pytest.raises(InputError, match=r"^dataset=imagenet_real: \S+/ILSVRC/val is missing; it is to be had at"):
        ready(tmp_path / "nowhere")
    file = next((root / "ILSVRC" / "val" / "n01498041").iterdir())
    file.rename(file.with_name("cat.JPEG"))
    with pytest.raises(InputError, match=r"cat\.JPEG is not called ILSVRC2012_val_<number>, 1 to 6"):
        ready(root)


def test_without_a_file_the_labels_are_timms(tmp_path):
    labels = read_labels(tmp_path / "real.json", 50_000)
    assert sum(map(bool, labels)) == 46_837  # as the paper counts them
    assert labels[:3] == [[], [970, 795], [230, 231]]


def test_a_prediction_counts_if_it_is_among_the_labels():
    sets = torch.tensor([[6, 22, -1], [-1, -1, -1], [999, -1, -1], [22, 999, 6]])
    found = among(torch.tensor([22, 6, 6, 6]), sets).numpy()
    np.testing.assert_array_equal(found, [1, np.nan, 0, 1])
    assert real_accuracy({"real_acc1": found}) == {"real_acc1": pytest.approx(200 / 3)}
    assert real_accuracy({}) == {} and real_accuracy({"real_acc1": np.array([np.nan])}) == {}


def test_images_without_a_label_are_left_out_of_the_paired_test():
    one, other = np.array([1, np.nan, 0, 1, 1.0]), np.array([0, np.nan, 0, 1, 0.0])
    found = compare("test/real_acc1", REAL_ACC1, *[[Predictions({"real_acc1": side})] * 2 for side in (one, other)])
    known = ~np.isnan(one)
    assert found == paired_bootstrap(np.stack([one[known]] * 2), np.stack([other[known]] * 2))


def test_one_evaluation_has_both(root, tmp_path):
    data = ready(root)
    optimizer = partial(make_optimizer, opt="momentum", momentum=0.9, lr=0.1)
    task = Classifier(
        model=Brightness(), loss=CrossEntropy(), optimizer=optimizer, scheduler=None, num_classes=1000, seed=0
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = pl.Trainer(default_root_dir=tmp_path, logger=False, enable_progress_bar=False, accelerator="cpu",
                             enable_checkpointing=False, enable_model_summary=False)  # fmt: skip
        (found,) = trainer.test(task, datamodule=data, verbose=False)
    kept = gathered(task.predictions)
    _, further = task.tables(kept, data.classes)
    sets = [REAL[number - 1] for number in (1, 4, 2, 6, 3, 5)]
    right = [said in own for said, own in zip(kept["top1"], sets, strict=True) if own]
    assert 0 < np.mean(right) < 1 and further["test/real_acc1"] == pytest.approx(100 * np.mean(right))
    assert found["test/acc1"] == pytest.approx(100 * (kept["top1"] == kept["label"]).mean())
    assert np.isnan(kept["real_acc1"]).tolist() == [not own for own in sets]
