"""What `TrainedModel` leaves out of Lightning's loop does not change what training does, and the loop stays short."""

import inspect
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.optimizer import make_optimizer
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.training import total
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.no_profiler import NoProfiler

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")
HOOKS = ("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_optimizer_step",
         "on_before_backward", "on_after_backward")  # fmt: skip


def batches(count=7, size=5):
    draw = torch.Generator().manual_seed(0)
    return [
        {"image": torch.randn(size, 4, generator=draw), "label": torch.randint(3, (size,), generator=draw)}
        for _ in range(count)
    ]


def fitted(kind=Classifier, callbacks=(), **options):
    torch.manual_seed(0)
    task = kind(model=nn.Linear(4, 3), loss=CrossEntropy(), scheduler=None, num_classes=3, seed=0,
                optimizer=partial(make_optimizer, opt="momentum", momentum=0.9, lr=1.0))  # fmt: skip
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=callbacks,
                         enable_progress_bar=False, enable_model_summary=False, **options)  # fmt: skip
    trainer.fit(task, DataLoader(batches(), batch_size=None))
    return task, trainer


@pytest.mark.parametrize("profiler", [None, NoProfiler()])
@pytest.mark.parametrize(("algorithm", "clip", "together"), [("norm", 0.3, 1), ("value", 0.05, 1), ("norm", 0.3, 3)])
def test_clipping_and_accumulation_equal_a_hand_loop(algorithm, clip, together, profiler):
    options = {"gradient_clip_val": clip, "gradient_clip_algorithm": algorithm, "accumulate_grad_batches": together}
    task, trainer = fitted(profiler=profiler, **options)
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    hand = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9)
    clipped = {"norm": nn.utils.clip_grad_norm_, "value": nn.utils.clip_grad_value_}[algorithm]
    for _ in range(2):
        for number, batch in enumerate(batches(), start=1):
            (nn.functional.cross_entropy(net(batch["image"]), batch["label"]) / together).backward()
            if number % together == 0 or number == 7:
                clipped(net.parameters(), clip)
                hand.step()
                hand.zero_grad()
    torch.testing.assert_close(task.model.state_dict(), net.state_dict())
    assert trainer.global_step == 2 * -(-7 // together)


def test_hooks_that_a_class_defines_are_called_and_the_others_cost_nothing():
    called = []

    class Watch(NoBatchHooks, pl.Callback):
        def on_after_backward(self, trainer, module):
            called.append("callback")

    class Watched(Classifier):
        def on_before_zero_grad(self, optimizer):
            called.append("module")

    fitted(Watched, [Watch()], limit_train_batches=1)
    assert called == ["module", "callback"] * 2
    assert {name for name in HOOKS if callable(getattr(Watched, name))} == {"on_before_zero_grad"}
    assert set(HOOKS) == {
        name for name, hook in vars(NoBatchHooks).items() if hook is None and name in vars(pl.Callback)
    }


def test_attributes_go_where_they_belong():
    task, _ = fitted()
    task.note = "text"
    task.note, task.running = None, nn.Linear(1, 1)
    assert vars(task)["note"] is None and "running" in dict(task.named_children())
    task.running = None
    assert "running" not in vars(task) and task.running is None
    task.weight = nn.Parameter(torch.ones(1))
    with pytest.raises(TypeError, match="cannot assign"):
        task.weight = "text"
    assert "weight" in dict(task.named_parameters())


def test_the_noted_signature_is_the_step_s_own():
    noted = Classifier.training_step.__signature__
    del Classifier.training_step.__signature__
    assert inspect.signature(Classifier.training_step) == noted
    Classifier.training_step.__signature__ = noted


def test_one_term_is_the_sum_and_several_are_added():
    terms = {"a": torch.tensor(1.0), "b": torch.tensor(0.5)}
    assert total({"a": terms["a"]}) is terms["a"]
    assert total(terms) == 1.5


def test_nothing_is_logged_on_the_way_with_an_interval_of_zero():
    task, trainer = fitted(log_every_n_steps=0)
    assert not hasattr(task, "running") and trainer.callback_metrics["train/loss"] > 0


def test_a_step_takes_little_longer_than_the_bare_loop_s():
    root = Path(__file__).parents[2]
    from hydra import initialize_config_dir

    from zoomexp.cli.benchmarks import step

    with initialize_config_dir(str(root / "configs"), version_base="1.3"):
        (row,) = step.run({"model": "tiny", "steps": "100", "rounds": "10"}, ["logger=none"])
    bare_us = 1e6 * row["batch"] / row["bare_img_per_s"]
    # 2 bare steps on a quiet machine and on a busy one; with every hook called and averages on the device it was 4
    assert row["overhead_of_the_best_us"] < 3 * bare_us


class Phases(nn.Linear):
    """Notes in which epochs it is trained, and of how many."""

    changes = True

    def begin_epoch(self, epoch, epochs):
        self.told = (epoch, epochs)

    def forward(self, x):
        if self.training:
            self.seen.append(self.told)
        return super().forward(x)


def test_parts_that_follow_epochs_are_told_each_of_them(tmp_path):
    """Before its first batch, and a resumed run goes on where it was; what does not change is told nothing."""

    def fitted(epochs, checkpoint=None):
        part, still = Phases(4, 3), Phases(3, 3)
        part.seen, still.changes, still.told, still.seen = [], False, None, []
        task = Classifier(model=nn.Sequential(part, still), loss=CrossEntropy(), scheduler=None, num_classes=3, seed=0,
                          optimizer=partial(make_optimizer, opt="momentum", momentum=0.9, lr=1.0))  # fmt: skip
        trainer = pl.Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False,
                             enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
        trainer.fit_loop.max_epochs = epochs
        trainer.fit(task, DataLoader(batches(2), batch_size=None), ckpt_path=checkpoint, weights_only=True)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        assert still.seen == [None] * len(part.seen)
        return part.seen

    assert fitted(3) == [(0, 3), (0, 3), (1, 3), (1, 3), (2, 3), (2, 3)]
    assert fitted(2) == [(0, 2), (0, 2), (1, 2), (1, 2)]
    assert fitted(3, tmp_path / "last.ckpt") == [(2, 3), (2, 3)]
