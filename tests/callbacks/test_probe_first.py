"""The last layer that training begins with, against scikit-learn's; and when there is none to fit."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from zoomexp.backbones.start_weights import StartWeights
from zoomexp.callbacks import probe_first
from zoomexp.callbacks.probe_first import ProbeFirst, obstacle

NOISE = np.random.default_rng(0)
LABELS = np.arange(60) % 2
FEATURES = (NOISE.normal(size=(60, 5)) + LABELS[:, None]).astype(np.float32)


def network(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Dropout(), nn.Linear(5, classes))
    net.num_classes = classes
    return net


def begin(callback: ProbeFirst, net: nn.Module, **of_trainer: object) -> None:
    data = SimpleNamespace(part=lambda name: {"train": "images"}.get(name), plain_batches=None)
    trainer = SimpleNamespace(world_size=1, datamodule=data, **of_trainer)
    callback.on_fit_start(trainer, SimpleNamespace(model=net))


@pytest.fixture
def seen(monkeypatch) -> list[bool]:
    """Whether the network was in training mode whenever its features were asked for."""
    modes = []

    def features_of(net, data, part, cache):
        modes.append(net.training)
        return FEATURES, LABELS

    monkeypatch.setattr(probe_first, "features_of", features_of)
    return modes


def test_the_layer_is_the_logistic_regression_and_classes_without_images_keep_their_rows(seen, tmp_path, capfd):
    net, untouched = network(), network()
    begin(ProbeFirst(tmp_path, penalties=[0.5]), net)
    scaled = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0)
    model = LogisticRegression(C=0.5, max_iter=2000).fit(scaled, LABELS)
    logits = net[1](torch.tensor(FEATURES)).detach()
    expected = torch.tensor(model.decision_function(scaled)).float()
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(net[1].weight[2], untouched[1].weight[2]) and net[1].bias[2] == untouched[1].bias[2]
    assert seen == [False] and net.training and net[0].training
    right = 100 * model.score(scaled, LABELS)
    assert f"fitted to the features, {right:.1f} % of the training images right (C 0.5)" in capfd.readouterr().err


def test_a_run_that_resumes_is_not_fitted_again(seen, tmp_path):
    first, resumed = ProbeFirst(tmp_path), ProbeFirst(tmp_path)
    begin(first, network())
    resumed.load_state_dict(first.state_dict())
    begin(resumed, network())
    assert len(seen) == 1


def test_what_keeps_a_run_from_it(tmp_path, capfd):
    task, data = SimpleNamespace(model=network()), SimpleNamespace(plain_batches=None)
    trainer = SimpleNamespace(world_size=1, datamodule=data)
    assert obstacle(trainer, task) is None
    task.model.start_weights = StartWeights("birds.pth", classifier=False)
    assert obstacle(trainer, task) is None
    task.model.start_weights = StartWeights("birds.pth", classifier=True)
    assert obstacle(trainer, task) == "birds.pth has the last layer"
    assert obstacle(SimpleNamespace(world_size=2, datamodule=data), SimpleNamespace(model=network())) is not None
    assert "more than images" in obstacle(
        SimpleNamespace(world_size=1, datamodule=object()), SimpleNamespace(model=network())
    )
    two = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 3))
    two.num_classes = 3
    assert "one linear last layer" in obstacle(trainer, SimpleNamespace(model=two))
    begin(ProbeFirst(tmp_path), two)
    assert "probe_first: left out, for it needs a network with one linear last layer" in capfd.readouterr().err
