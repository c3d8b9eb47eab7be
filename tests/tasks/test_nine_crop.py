"""The oracle of nine crops against numpy, with crops cut by torchvision and a model small enough to follow."""

import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional as vision

from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.optimizer import make_optimizer
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.nine_crop import NineCrop, nine_crops

CLASSES, SIDE = 5, 14  # 14 is enlarged to 24, and its crops begin at 0, 5 and 10


class Linear(nn.Module):
    """A linear classifier; it keeps each image's brightness as a map."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3 * SIDE * SIDE, CLASSES)
        self.inserted = {"stem": SimpleNamespace(module=SimpleNamespace(map=None))}

    def forward(self, x):
        self.inserted["stem"].module.map = x.mean(1, keepdim=True).sigmoid()
        return self.fc(x.flatten(1))


def batches(sizes=(6, 6, 3)):
    generator, parts, start = torch.Generator().manual_seed(0), [], 0
    for size in sizes:
        part = {"image": torch.randn(size, 3, SIDE, SIDE, generator=generator)}
        part |= {"label": torch.randint(CLASSES, (size,), generator=generator), "index": start + torch.arange(size)}
        part["box"] = torch.tensor([2.0, 2, 9, 12]).expand(size, 4)
        parts.append(part)
        start += size
    return parts


def scored(task_class, model, parts, tmp_path):
    optimizer = partial(make_optimizer, opt="momentum", momentum=0.9, lr=0.1)
    task = task_class(
        model=model, loss=CrossEntropy(), optimizer=optimizer, scheduler=None, num_classes=CLASSES, seed=0
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = pl.Trainer(default_root_dir=tmp_path, logger=False, enable_progress_bar=False, accelerator="cpu",
                             enable_checkpointing=False, enable_model_summary=False)  # fmt: skip
        (found,) = trainer.test(task, DataLoader(parts, batch_size=None), verbose=False)
    return found, {name: torch.cat(values).tolist() for name, values in task.predictions.items()}


def model():
    torch.manual_seed(0)
    return Linear()


def test_the_crops_are_those_of_the_paper_at_224():
    image = torch.rand(1, 3, 224, 224)
    large = vision.resize(image, [384, 384], antialias=False)
    expected = [vision.crop(large, top, left, 224, 224) for top in (0, 80, 160) for left in (0, 80, 160)]
    found = list(nine_crops(image))
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), atol=1e-5, rtol=0)
    assert found[4].shape == image.shape


def test_metrics(tmp_path):
    parts, net = batches(), model()
    found, _ = scored(NineCrop, net, parts, tmp_path)
    image, label = (torch.cat([part[name] for part in parts]) for name in ("image", "label"))
    large = vision.resize(image, [24, 24], antialias=False)
    crops = [vision.crop(large, top, left, SIDE, SIDE) for top in (0, 5, 10) for left in (0, 5, 10)]
    weight, bias = (parameter.detach().double().numpy() for parameter in net.fc.parameters())
    logits = np.stack([crop.flatten(1).double().numpy() @ weight.T + bias for crop in crops])
    shares = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    any_crop = 100 * (logits.argmax(2) == label.numpy()).any(0).mean()
    crop_mean = 100 * (shares.mean(0).argmax(1) == label.numpy()).mean()
    assert found["test/any_crop"] == pytest.approx(any_crop, abs=1e-4)
    assert found["test/crop_mean"] == pytest.approx(crop_mean, abs=1e-4)
    assert len({any_crop, crop_mean, found["test/acc1"], 0.0, 100.0}) == 5


def test_all_else_is_that_of_the_plain_images(tmp_path):
    plain, plainly_predicted = scored(Classifier, model(), batches(), tmp_path)
    found, predicted = scored(NineCrop, model(), batches(), tmp_path)
    assert predicted == plainly_predicted
    assert {name: found[name] for name in plain} == plain
    assert set(found) - set(plain) == {"test/any_crop", "test/crop_mean"}
    assert "test/pointing_game/stem" in plain  # by the maps of the plain images


def test_a_model_that_reads_maps_is_refused(tmp_path):
    net = model()
    net.inputs = ("image", "map")
    with pytest.raises(InputError, match=r"^task=nine_crop: the model must read images alone, and reads image, map$"):
        scored(NineCrop, net, batches(), tmp_path)
