"""The monitor of a run's health in small fits whose state is set by hand: nothing depends on luck."""

import json
import logging
import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.host import Host
from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.cbam import CBAM
from zoomexp.attention.loupe import Loupe
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.callbacks.checkpoints import Checkpoints
from zoomexp.callbacks.gate_monitor import GateMonitor
from zoomexp.errors import InputError, NotLearningError
from zoomexp.insertion import insert
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.optimizer import make_optimizer
from zoomexp.run.last_checkpoint import LastCheckpoint
from zoomexp.scheduler import cosine
from zoomexp.tasks.classification import Classifier

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")


class TwoStages(nn.Module):
    """Two convolutions, two sites."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)
        self.feature_info = [{"module": name, "num_chs": 4, "reduction": 1} for name in ("first", "second")]

    def forward(self, x):
        return self.fc(self.second(self.first(x)).mean((2, 3)))


def batches(steps, images, seed=0):
    """Labels 0, 1, 2 in turns; each image bright where its label says, so that it can be learned."""
    draw, label = torch.Generator().manual_seed(seed), torch.arange(images) % 3
    bright = torch.nn.functional.one_hot(label, 4).float()[:, None, None, :] * 3
    return [
        {"image": bright + torch.randn(images, 1, 4, 4, generator=draw), "label": label, "index": torch.arange(images)}
        for _ in range(steps)
    ]


def network(make=None, at="stage1", host=Host):
    torch.manual_seed(0)
    net = host()
    if make is not None:
        insert(net, make, at, torch.zeros(1, 1, 4, 4))
    return net


def fit(
    folder, net, *, epochs=3, steps=3, images=12, lr=1e-4, validate=True, resume=None, warmup=0, callbacks=(), **options
):
    monitor = GateMonitor(**options)
    task = Classifier(
        model=net, loss=CrossEntropy(), num_classes=3, seed=0, optimizer=partial(make_optimizer, opt="momentum", lr=lr),
        scheduler=partial(cosine, epochs=max(epochs, 1 + warmup), warmup_epochs=warmup),
    )  # fmt: skip
    trainer = pl.Trainer(
        default_root_dir=folder, max_epochs=epochs, callbacks=[monitor, *callbacks], accelerator="cpu", logger=False,
        enable_model_summary=False, num_sanity_val_steps=0, enable_progress_bar=False,
        enable_checkpointing=any(isinstance(callback, Checkpoints) for callback in callbacks),
    )  # fmt: skip
    loaders = [DataLoader(batches(steps, images, seed), batch_size=None) for seed in (1, 2)]
    trainer.fit(task, loaders[0], loaders[1] if validate else None, ckpt_path=resume, weights_only=True)
    return monitor


def kept():
    return [Checkpoints(), LastCheckpoint()]


def forced(net, bias):
    """Every mask of Loupe at sigmoid(bias), and no gradient that could move it."""
    for inserted in net.inserted.values():
        with torch.no_grad():
            inserted.module.expand.weight.zero_()
            inserted.module.expand.bias.fill_(bias)
    return net


def kinds(monitor):
    return [finding.kind for finding in monitor.findings]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("zoomexp")]


def test_a_shut_mask_is_found_before_the_second_epoch_ends_and_told_once(tmp_path, caplog):
    monitor = fit(tmp_path, forced(network(Loupe), -9.0), epochs=4)
    (found,) = monitor.findings
    assert (found.kind, found.site, found.module, found.epoch, found.until) == ("shut", "conv", "Loupe", 1, None)
    assert found.value == pytest.approx(100 / (1 + math.exp(9)), rel=1e-3)
    (warning,) = warnings(caplog)
    assert warning.startswith("epoch 2: the mask of Loupe at conv is shut (mean 0.012 %): no features pass it, ")
    assert warning.endswith("a lower optimizer.lr (now 0.0001), optimizer=adamw or trainer.gradient_clip_val=1")


def test_it_is_found_within_an_epoch_without_a_validation(tmp_path):
    monitor = fit(tmp_path, forced(network(Loupe), -9.0), epochs=1, steps=30, every=10, validate=False)
    assert (monitor.findings[0].kind, monitor.findings[0].epoch) == ("shut", 0)


def test_every_site_is_named(tmp_path, caplog):
    net = forced(network(Loupe, [0, 1], TwoStages), -9.0)
    assert {(found.kind, found.site) for found in fit(tmp_path, net).findings} == {
        ("shut", "first"),
        ("shut", "second"),
    }
    assert len(warnings(caplog)) == 1


def test_one_of_two_sites(tmp_path):
    net = network(Loupe, [0, 1], TwoStages)
    with torch.no_grad():
        net.inserted["second"].module.expand.bias.fill_(-20.0)
    assert [(found.kind, found.site) for found in fit(tmp_path, net).findings] == [("shut", "second")]


def test_an_open_mask_a_closed_gate_and_an_identity_leave_the_module_idle(tmp_path, caplog):
    assert kinds(fit(tmp_path, forced(network(Loupe), 12.0))) == ["open"]
    net = network(partial(SelfAttention, gamma="learned"))
    net.inserted["conv"].module.gamma.requires_grad_(False)  # stays where it starts
    assert kinds(fit(tmp_path, net)) == ["zero_gate"]
    assert kinds(fit(tmp_path, network(partial(SelfAttention, gamma=0.0)))) == ["identity"]
    told = warnings(caplog)
    assert len(told) == 3
    assert all("the run measures the network without it" in one for one in told)


@pytest.mark.parametrize(
    "make",
    [
        *(partial(Loupe, mask=mask) for mask in ("learned", "constant", "random", "scalar", "none")),
        *(partial(AttZoom, threshold=threshold) for threshold in (0.0, 0.3, 0.5, 0.9)),
        partial(AttZoom, gate="none"), CBAM, partial(SelfAttention, keep_map=True), partial(SelfAttention, gamma=1.0),
    ],
)  # fmt: skip
def test_modules_that_are_well(tmp_path, make):
    assert kinds(fit(tmp_path, network(make), epochs=3, steps=10, lr=0.05, every=5)) == []


@pytest.mark.parametrize("state", [{}, {"lr": 1e-30}])
def test_a_run_of_two_steps_is_never_dead(tmp_path, state):
    assert fit(tmp_path, forced(network(Loupe), -9.0), epochs=1, steps=2, images=600, **state).findings == []


def mute(net):
    """A network that says the same of every image: the loss is ln 3."""
    with torch.no_grad():
        net.fc.weight.zero_()
        net.fc.bias.zero_()
    net.fc.requires_grad_(False)
    return net


def test_a_network_that_guesses(tmp_path, caplog):
    monitor = fit(tmp_path, mute(network()), epochs=5, steps=20, images=60)
    epochs = {found.kind: found.epoch for found in monitor.findings}
    assert epochs == {"constant": 1, "chance": 2, "flat_loss": 2}
    values = {found.kind: found.value for found in monitor.findings}
    assert values == pytest.approx({"constant": 0.0, "chance": 100 / 3, "flat_loss": math.log(3)}, rel=1e-4)
    (warning,) = warnings(caplog)  # the rest follows from it
    assert warning.startswith("epoch 2: the network's output no longer depends on the image")


def test_a_short_run_is_judged_at_its_end(tmp_path):
    assert "chance" in kinds(fit(tmp_path, mute(network()), epochs=1, steps=30, images=60))
    assert kinds(fit(tmp_path, mute(network()), epochs=1, steps=19, images=60)) == []


def test_a_warm_up_does_not_count(tmp_path):
    epochs = {
        found.kind: found.epoch
        for found in fit(tmp_path, mute(network()), epochs=6, steps=10, images=60, warmup=3).findings
    }
    assert epochs["chance"] == 5


def test_a_run_that_learns_is_well(tmp_path):
    assert kinds(fit(tmp_path, network(), epochs=5, steps=30, images=60, lr=0.1)) == []


def test_few_images_tell_nothing_of_chance(tmp_path):
    monitor = fit(tmp_path, mute(network()), epochs=5, steps=10, images=2)
    assert "chance" not in kinds(monitor)


def test_equal_images_are_not_the_networks_fault(tmp_path, monkeypatch):
    same = batches(10, 60)
    for batch in same:
        batch["image"] = torch.ones(60, 1, 4, 4)
    monkeypatch.setitem(globals(), "batches", lambda *args: same)
    assert "constant" not in kinds(fit(tmp_path, network(), epochs=3))


def test_a_dead_run_is_ended_where_that_is_asked_for(tmp_path):
    with pytest.raises(NotLearningError, match=r"the mask of Loupe at conv is shut .* since epoch 2, and callbacks"):
        fit(tmp_path, forced(network(Loupe), -9.0), stop=True)
    assert not torch.compiler.is_compiling()


def test_an_idle_module_ends_no_run(tmp_path):
    assert kinds(fit(tmp_path, forced(network(Loupe), 12.0), stop=True)) == ["open"]


def test_findings_survive_a_resume(tmp_path, caplog):
    fit(tmp_path, forced(network(Loupe), -9.0), epochs=2, callbacks=kept())
    last = tmp_path / "checkpoints" / "last.ckpt"
    monitor = fit(tmp_path, forced(network(Loupe), -9.0), epochs=4, resume=last, callbacks=kept())
    assert [(found.kind, found.epoch) for found in monitor.findings] == [("shut", 1)]
    assert len(warnings(caplog)) == 1
    with pytest.raises(NotLearningError):
        fit(
            tmp_path,
            forced(network(Loupe), -9.0),
            epochs=6,
            resume=last,
            callbacks=kept(),
            stop=True,
        )
    json.dumps(monitor.state_dict())


@pytest.mark.parametrize("option", [{"every": 0}, {"stop": "yes"}, {"threshold": -1}])
def test_options_out_of_range(option):
    (name,) = option
    with pytest.raises(InputError, match=f"callbacks.gates.{name}="):
        GateMonitor(**option)


def test_compiled_the_same_is_found_and_nothing_is_traced_anew(tmp_path):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    net = forced(network(Loupe), -9.0)
    net.compile(backend=backend)
    monitor = fit(tmp_path, net, epochs=3, steps=12, every=3)
    assert kinds(monitor)[0] == "shut"
    assert len(graphs) == 2  # to train and to evaluate
    torch._dynamo.reset()


@pytest.fixture(autouse=True)
def at_warning_level(caplog):
    with caplog.at_level(logging.WARNING, logger="zoomexp"):
        yield


def test_w_and_b_gets_an_alert_and_a_summary_value(tmp_path):
    from unittest.mock import MagicMock

    from pytorch_lightning.loggers import WandbLogger

    from zoomexp.health.findings import Finding
    from zoomexp.health.telling import summarise, tell

    logger, net = MagicMock(spec=WandbLogger), network()
    logger.experiment.summary = {}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    trainer = MagicMock(loggers=[logger], is_global_zero=True, optimizers=[optimizer], gradient_clip_val=None)
    summarise(trainer, [])
    assert logger.experiment.summary == {"health": "ok"}
    shut = Finding("shut", 0.02, 0, "layer2", "Loupe")
    tell(trainer, MagicMock(loss=CrossEntropy()), [shut], [shut], stop=False)
    (alert,) = logger.experiment.alert.call_args_list
    assert alert.kwargs["title"] == "zoomexp: module shut"
    assert alert.kwargs["text"].startswith("the mask of Loupe at layer2 is shut (mean 0.02 %): ")
    assert logger.experiment.summary["health"].startswith("module shut: the mask of Loupe at layer2 is shut")
