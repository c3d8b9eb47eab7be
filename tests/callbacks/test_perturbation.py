"""The areas that the callback logs are those of the first test images, and testing is as without it."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from tests.host import Host
from zoomexp.attention.loupe import Loupe
from zoomexp.callbacks.perturbation import Perturbation
from zoomexp.errors import InputError
from zoomexp.insertion import attention_maps, insert
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.metrics.localisation import random_prior
from zoomexp.metrics.perturbation import area, deletion_curve, insertion_curve
from zoomexp.tasks.classification import Classifier


def scored(callbacks, with_map=True):
    torch.manual_seed(0)
    net = Host()
    if with_map:
        insert(net, Loupe, "stage1", torch.zeros(1, 1, 8, 8))
    batches = [{"image": torch.randn(5, 1, 8, 8), "label": torch.arange(5) % 3, "index": torch.arange(5) + 5 * i}
               for i in range(3)]  # fmt: skip
    task = Classifier(model=net, loss=CrossEntropy(), num_classes=3, seed=0, scheduler=None,
                      optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1))  # fmt: skip
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=callbacks, enable_progress_bar=False,
                         enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        (scores,) = trainer.test(task, DataLoader(batches, batch_size=None), verbose=False)
    return net.eval(), batches, scores


def test_the_areas_of_the_first_images():
    callback = Perturbation(images=7, steps=4)
    net, batches, scores = scored([callback])
    batch = {name: torch.cat([one[name] for one in batches])[:7] for name in batches[0]}
    with torch.no_grad():
        net(batch["image"])
    found = {"conv": attention_maps(net)["conv"].clone()}
    found["random_prior"] = random_prior(found["conv"], batch["index"])
    for kind, curve in {"insertion": insertion_curve, "deletion": deletion_curve}.items():
        for name, maps in found.items():
            areas = area(curve(net, batch["image"], maps, batch["label"], steps=4))
            assert scores[f"test/{kind}/{name}"] == pytest.approx(100 * areas.mean().item(), rel=1e-5)
    assert scores["test/deletion/conv"] != scores["test/deletion/random_prior"]


def test_nothing_else_changes():
    _, _, plain = scored([])
    _, _, scores = scored([Perturbation()])
    assert {name: value for name, value in scores.items() if name in plain} == plain
    assert len(scores) == len(plain) + 4


def test_a_network_without_maps_is_tested_as_ever():
    assert scored([Perturbation()], with_map=False)[2] == scored([], with_map=False)[2]


@pytest.mark.parametrize("field", ["images", "steps"])
def test_bad_arguments(field):
    with pytest.raises(InputError, match=rf"^callbacks\.perturbation\.{field}=0 must be a whole number, at least 1$"):
        Perturbation(**{field: 0})
