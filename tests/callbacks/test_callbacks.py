"""Checkpoints, history, gate monitor and progress, in small fits of a module in a small host."""

import csv
import logging
import re
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from tests.host import Host
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.callbacks.checkpoints import Checkpoints
from zoomexp.callbacks.early_stopping import EarlyStopping
from zoomexp.callbacks.gate_monitor import GateMonitor
from zoomexp.callbacks.history import History
from zoomexp.callbacks.progress import RunProgress
from zoomexp.errors import InputError
from zoomexp.insertion import insert
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.metrics.declared import NLL
from zoomexp.optimizer import make_optimizer
from zoomexp.run.epochs import Epochs
from zoomexp.run.fit import best_of
from zoomexp.run.last_checkpoint import LastCheckpoint
from zoomexp.scheduler import multistep
from zoomexp.tasks.classification import Classifier

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")


@pytest.fixture(autouse=True)
def the_same_weights():
    torch.manual_seed(0)


def batches(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "image": torch.randn(8, 1, 4, 4, generator=generator),
            "label": torch.randint(3, (8,), generator=generator),
            "index": torch.arange(8),
        }
        for _ in range(3)
    ]


def loader(seed: int) -> DataLoader:
    return DataLoader(batches(seed), batch_size=None)


def fit(folder, callbacks, *, gamma=None, epochs=3, validate=True, resume=None, lr=0.5, kind=Classifier):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    net = Host()
    if gamma is not None:
        insert(net, partial(SelfAttention, gamma=gamma), "stage1", torch.zeros(1, 1, 4, 4))
    task = kind(
        model=net, loss=CrossEntropy(), num_classes=3, seed=0,
        optimizer=partial(make_optimizer, opt="momentum", lr=lr),
        scheduler=partial(multistep, epochs=5, milestones=[1, 3]),
    )  # fmt: skip
    callbacks = [Epochs(), *callbacks, LastCheckpoint()]
    trainer = pl.Trainer(
        default_root_dir=folder, max_epochs=epochs, callbacks=callbacks, accelerator="cpu", logger=False,
        enable_model_summary=False, num_sanity_val_steps=0,
        enable_progress_bar=any(isinstance(callback, RunProgress) for callback in callbacks),
    )  # fmt: skip
    trainer.fit(task, loader(1), loader(2) if validate else None, ckpt_path=resume, weights_only=True)
    return trainer, task


class Copy(pl.Callback):
    """Keeps the metrics of every epoch."""

    def __init__(self) -> None:
        self.rows, self.rates = [], []

    def on_train_batch_start(self, trainer, *args):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer, *args):
        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def rows(folder):
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_history_is_what_was_logged(tmp_path):
    copy, history = Copy(), History()
    fit(tmp_path, [copy, history])
    for number, (row, logged) in enumerate(zip(rows(tmp_path), copy.rows, strict=True)):
        assert {name: float(row[name]) for name in logged} == logged
        assert (int(row["epoch"]), int(row["step"])) == (number, 3 * number + 3)
        assert float(row["lr"]) == copy.rates[3 * number] == copy.rates[3 * number + 2]
        assert float(row["epoch_s"]) >= 0
        assert set(row) == set(logged) | {"epoch", "step", "epoch_s", "img_per_s", "lr"}
    assert {"train/loss", "train/acc1", "val/loss", "val/acc1", "val/acc5"} <= set(rows(tmp_path)[0])
    assert [float(row["lr"]) for row in rows(tmp_path)] == pytest.approx([0.5, 0.05, 0.05])


class Sometimes(Classifier):
    """Which cannot say one of its scores at every validation."""

    def results(self, split):
        found = super().results(split)
        return found if self.current_epoch else found | {f"{split}/sometimes": torch.tensor(3.0)}


def test_history_has_no_score_of_an_earlier_validation(tmp_path):
    fit(tmp_path, [History()], kind=Sometimes)
    assert [row["val/sometimes"] for row in rows(tmp_path)] == ["3.0", "", ""]
    assert all(row["val/loss"] for row in rows(tmp_path))


def test_history_survives_a_resume(tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    fit(whole, [History(), Checkpoints()], epochs=5)
    fit(parted, [History(), Checkpoints()], epochs=2)
    fit(parted, [History(), Checkpoints()], epochs=5, resume=parted / "checkpoints" / "last.ckpt")
    timeless = [
        [{name: value for name, value in row.items() if name not in ("epoch_s", "img_per_s")} for row in rows(folder)]
        for folder in (whole, parted)
    ]
    assert timeless[0] == timeless[1]
    assert [row["epoch"] for row in timeless[1]] == list("01234")


def test_history_counts_training_time_alone(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))  # every look at the clock is ten seconds later
    monkeypatch.setattr("zoomexp.run.epochs.time.perf_counter", lambda: next(clock))
    fit(tmp_path, [History()], epochs=1)
    (row,) = rows(tmp_path)
    assert float(row["epoch_s"]) == 20  # of 30: epoch start, validation start and end, epoch end
    assert float(row["img_per_s"]) == 24 / 20


def test_the_last_epoch_is_always_saved_and_the_best_is_the_best(tmp_path):
    copy = Copy()
    trainer, task = fit(tmp_path, [copy, Checkpoints(monitor="val/loss", mode="max")], epochs=4)
    losses = [row["val/loss"] for row in copy.rows]
    best = losses.index(max(losses))
    assert best < 3  # so that best and last differ
    stored = {path.name: torch.load(path, weights_only=True) for path in (tmp_path / "checkpoints").iterdir()}
    assert {name: part["epoch"] for name, part in stored.items()} == {
        "best.ckpt": best, "last.ckpt": 3, "previous.ckpt": 2,
    }  # fmt: skip
    assert best_of(trainer).best_model_score.item() == max(losses)
    for key, value in task.state_dict().items():
        assert torch.equal(stored["last.ckpt"]["state_dict"][key], value)


class ByLikelihood(Classifier):
    """Of which less is better."""

    main = NLL


@pytest.mark.parametrize(("kind", "watched", "best"), [(Classifier, "val/acc1", max), (ByLikelihood, "val/nll", min)])
def test_the_best_epoch_is_that_of_the_tasks_main_quantity(tmp_path, kind, watched, best):
    copy, checkpoints = Copy(), Checkpoints()
    fit(tmp_path, [copy, checkpoints, RunProgress()], epochs=4, lr=20.0, kind=kind)
    values = [row[watched] for row in copy.rows]
    assert checkpoints.best_model_score.item() == best(values)
    stored = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert stored["epoch"] == values.index(best(values))
    explicit = Checkpoints(watched, best.__name__)
    assert checkpoints.state_key == explicit.state_key  # so that a run begun under the quantity's own name resumes


@pytest.mark.parametrize("kind", [Classifier, ByLikelihood])
def test_early_stopping_knows_the_direction_too(tmp_path, kind):
    copy, stopping = Copy(), EarlyStopping("val/main", "declared", patience=0)
    trainer, _ = fit(tmp_path, [copy, stopping], epochs=6, lr=20.0, kind=kind)
    sign = -1 if kind is ByLikelihood else 1
    values = [sign * row[f"val/{kind.main.key}"] for row in copy.rows]
    ends = next((i for i in range(1, len(values)) if values[i] <= max(values[:i])), len(values) - 1)
    assert trainer.current_epoch == len(values) == ends + 1


def test_what_nobody_declares_a_direction_of_needs_one(tmp_path):
    with pytest.raises(InputError, match=r"^callbacks\.checkpoints\.mode=declared: nobody declares which val/gini is"):
        fit(tmp_path, [Checkpoints("val/gini")])
    with pytest.raises(InputError, match=r"^callbacks\.checkpoints\.mode='least' must be one of max, min, declared$"):
        Checkpoints(mode="least")
    with pytest.raises(
        InputError, match=r"^callbacks\.early_stopping\.mode='least' must be one of max, min, declared$"
    ):
        EarlyStopping("val/loss", mode="least")


def test_without_validation_there_is_only_a_last(tmp_path):
    trainer, _ = fit(tmp_path, [Checkpoints()], validate=False)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert best_of(trainer) is None
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.parametrize(("gamma", "warned"), [(0.0, 1), (1.0, 0)])
def test_an_identity_is_warned_of_once(tmp_path, caplog, gamma, warned):
    with caplog.at_level(logging.WARNING, logger="zoomexp.health.telling"):
        fit(tmp_path, [GateMonitor()], gamma=gamma, epochs=3)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("zoomexp")]
    assert len(messages) == warned
    assert all("epoch 2: SelfAttention at conv changes its input by 0: it is an identity" in m for m in messages)


def test_the_gates_are_measured_on_the_first_validation_batch(tmp_path):
    trainer, task = fit(tmp_path, [GateMonitor()], gamma="learned", epochs=1)
    module = task.model.inserted["conv"].module
    norm = torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).norm()
    with torch.no_grad():
        x = task.model.conv._conv_forward(batches(2)[0]["image"], task.model.conv.weight, task.model.conv.bias)
        change = (module(x) - x).norm() / x.norm()

    def spread(features):
        return torch.stack([channel.std(correction=0) for channel in features.unbind(1)]).square().mean().sqrt()

    found = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("gate/")}
    assert found == pytest.approx(
        {
            "gate/conv/weight_norm": norm.item(),
            "gate/conv/change": change.item(),
            "gate/conv/gamma": module.gamma.item(),
            "gate/conv/passed": (spread(module(x)) / spread(x)).item(),
        },
        rel=1e-4,
    )
    assert module.gamma.item() != 0
    assert not module._forward_hooks


def test_without_a_module_nothing_is_watched(tmp_path):
    trainer, _ = fit(tmp_path, [GateMonitor()], epochs=1)
    assert not [name for name in trainer.callback_metrics if name.startswith("gate/")]


def test_progress_without_a_terminal_is_one_plain_line_per_epoch(tmp_path, capfd):
    copy = Copy()
    fit(tmp_path, [copy, RunProgress(every=1)], epochs=3)
    out, err = capfd.readouterr()
    assert out == ""
    assert "\x1b" not in err
    lines = err.splitlines()
    assert len(lines) == 3
    for number, (line, logged) in enumerate(zip(lines, copy.rows, strict=True), start=1):
        assert line.startswith(f"epoch {number}/3  train/loss {logged['train/loss']:.2f}  ")
        assert f"val/acc1 {logged['val/acc1']:.2f}" in line
        assert re.search(r" 0:\d\d left$", line)
        assert "img/s" in line


def test_progress_on_a_terminal_shows_a_bar_and_closes_it(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    progress = RunProgress(every=1)
    fit(tmp_path, [progress], epochs=2)
    _, err = capfd.readouterr()
    assert "epoch 2/2" in err
    assert "━" in err
    assert progress.bar is None


def test_progress_of_the_other_processes_is_silent(tmp_path, capfd):
    progress = RunProgress()
    progress.disable()
    fit(tmp_path, [progress], epochs=1)
    assert capfd.readouterr() == ("", "")
