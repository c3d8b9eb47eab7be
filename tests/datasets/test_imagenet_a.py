import shutil
import tarfile
import urllib.request
import warnings
from functools import partial
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn

from zoomexp.backbones.start_weights import StartWeights
from zoomexp.datasets.imagenet_a import LAYOUT, URL, ImageNetA
from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.optimizer import make_optimizer
from zoomexp.run.prepare import check_ready
from zoomexp.tasks.classification import Classifier

SMALL = {"batch_size": 2, "mean": [0, 0, 0], "std": [1, 1, 1], "image_size": 8, "val_fraction": 0}
# Places in ImageNet as the data set's authors list them: stingray 6, bald eagle 22, toilet tissue 999 (not theirs).
PLACES = {"n01498041": 6, "n01614925": 22, "n15075141": 999}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(ImageNetA, "counts", (3, 6))


def lay_out(root):
    """Two grey images a class, as bright as the class is far in the list."""
    for value, wnid in enumerate(PLACES):
        (root / LAYOUT / wnid).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((20, 30), 100 * value, np.uint8)).save(root / LAYOUT / wnid / f"0.{i}_bird.jpg")
    (root / LAYOUT / "README.txt").write_text("no image")
    return root


def ready(data_dir, **options):
    data = ImageNetA(data_dir=data_dir, **(SMALL | options))
    data.setup()
    return data


def test_labels_are_places_among_imagenets_classes(tmp_path):
    data = ready(lay_out(tmp_path))
    assert data.num_classes == 1000 and data.classes == tuple(sorted(data.classes)) and not data.has_boxes
    assert [data.classes[place] for place in PLACES.values()] == list(PLACES)
    batch = next(iter(data.test_dataloader()))
    assert batch["label"].tolist() == [6, 6, 22, 22, 999, 999] and batch["index"].tolist() == list(range(6))
    brightness = torch.tensor([0, 0, 100, 100, 200, 200.0])
    torch.testing.assert_close(batch["image"].mean((1, 2, 3)) * 255, brightness, rtol=0, atol=1)
    assert data.val_dataloader() == [] and len(data.part("train")) == 0


class Brightness(nn.Module):
    """Knows the three classes by their brightness, and nothing else."""

    insertion_sites = ()
    start_weights = StartWeights("by hand", classifier=True)

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        logits = images.new_zeros(len(images), 1000)
        logits[:, list(PLACES.values())[:2]] = 1 - (images.mean((1, 2, 3))[:, None] * 2.55 - torch.arange(2)).abs()
        return self.scale * logits


def test_a_model_is_tested_and_cannot_be_trained(tmp_path):
    data = ready(lay_out(tmp_path))
    optimizer = partial(make_optimizer, opt="momentum", momentum=0.9, lr=0.1)
    common = {"loss": CrossEntropy(), "optimizer": optimizer, "scheduler": None, "num_classes": 1000, "seed": 0}
    task = Classifier(model=Brightness(), **common)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = pl.Trainer(default_root_dir=tmp_path, logger=False, enable_progress_bar=False, accelerator="cpu",
                             enable_checkpointing=False, enable_model_summary=False, max_epochs=1)  # fmt: skip
        check_ready(trainer, task, data, None, "start")
        (found,) = trainer.test(task, datamodule=data, verbose=False)
        assert found["test/acc1"] == pytest.approx(400 / 6)
        with pytest.raises(InputError) as error:
            check_ready(trainer, task, data, None, "best")
    assert str(error.value) == "dataset=imagenet_a has no training images; test a model with evaluate=start"


@pytest.mark.parametrize("change", ["image", "class", "folder", "empty"])
def test_a_folder_that_is_not_whole(tmp_path, change):
    root = lay_out(tmp_path) / LAYOUT
    if change == "image":
        next((root / "n01498041").glob("*.jpg")).unlink()
    elif change == "class":
        (root / "n01498041").rename(root / "n00000001")
    else:
        shutil.rmtree(root)
        root.mkdir()
    if change == "empty":
        for wnid in PLACES:
            (root / wnid).mkdir()
    has = "5 images of 3 classes" if change == "image" else "0 images of 0 classes"
    whole = f"{root} has {has}, not 6 images of 3 classes; unpack it again ({URL})"
    expected = f"{root}/n00000001 is none of ImageNet's 1,000 classes (wnid)" if change == "class" else whole
    with pytest.raises(InputError) as error:
        ready(tmp_path)
    assert str(error.value) == f"dataset=imagenet_a: {expected}"


@pytest.mark.parametrize("options", [{"val_fraction": 0.1}, {"train_size": 4}, {"folds": 2, "fold": 0}])
def test_options_of_training_images_are_refused(tmp_path, options):
    with pytest.raises(InputError, match=rf"^dataset\.{next(iter(options))}=\S+ .*") as error:
        ready(lay_out(tmp_path), **options)
    assert "\n" not in str(error.value)


def test_download(tmp_path, monkeypatch):
    lay_out(tmp_path)
    with tarfile.open(tmp_path / "imagenet-a.tar", "w") as file:
        file.add(tmp_path / LAYOUT, LAYOUT)
    monkeypatch.setattr(
        "torchvision.datasets.utils.download_url",
        lambda url, folder, name, md5: shutil.copy(tmp_path / "imagenet-a.tar", Path(folder) / name),
    )
    data = ImageNetA(data_dir=tmp_path / "data", **SMALL)
    data.prepare_data()
    assert len(data.part("test")) == 6 and [path.name for path in (tmp_path / "data").iterdir()] == [LAYOUT]


def test_not_there(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(InputError) as error:
        ImageNetA(data_dir=tmp_path, **SMALL).prepare_data()
    where = f"dataset=imagenet_a: not found under data_dir={tmp_path}; put {LAYOUT} there ({URL})"
    assert str(error.value) == f"{where}; the download from there failed: no network"
