"""Replayed steps against Lightning's own, to the last bit: losses, weights, history, hooks, checkpoints."""

import random

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from tests.graphs.runs import LONG, Ended, same
from tests.graphs.stand_in import StandIn
from zoomexp.errors import FaultError, InputError
from zoomexp.run.out_of_memory import in_memory

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")
DONE = (
    "trainer.graph: each training step of a whole batch replays one CUDA graph; "
    "a smaller last batch, validation and test run as they are\n"
)
FORMS = {
    "as it is": (),
    "Adam, a rate that changes": ("optimizer=adam", "scheduler=multistep", "scheduler.milestones=[1,2]"),
    "a loss that follows the epoch": ("loss=sparse_gate", "loss.warmup_epochs=2", "optimizer=adamw"),
    "clipped, averaged": ("trainer.gradient_clip_val=0.5", "callbacks=[default,ema]", "callbacks.ema.decay=0.9"),
    "half precision": ("trainer.precision=bf16-mixed", "trainer.max_epochs=2"),
    "a second look": ("attention=none", "loss=cross_entropy", "head=cal", "head.maps=4", "trainer.max_epochs=2"),
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """`run(name, graph, ...)` builds a run that writes into a folder of that name."""
    return lambda name, graph, *overrides, **options: Ended(tmp_path / name, graph, *overrides, **options)


@pytest.mark.parametrize("form", FORMS)
def test_replayed_steps_are_the_eager_ones(run, capfd, form):
    eager, replayed = (run(str(how), how, *FORMS[form]).fit() for how in (False, "auto"))
    same(replayed, eager)
    (recorder,) = replayed.recorders
    steps = len(replayed.watch.losses)
    assert recorder.calls == ["run", "run", "watch", "capture", *["replay"] * (steps - 3)]
    assert not eager.recorders and capfd.readouterr().err.count(DONE) == 1


def test_dropout_draws_what_it_draws_eagerly(run):
    def fitted(how):
        one = run(str(how), how, "trainer.max_epochs=2")
        one.task.model.global_pool = torch.nn.Sequential(one.task.model.global_pool, torch.nn.Dropout(0.3))
        return one.fit()

    same(fitted("auto"), fitted(False))


def test_two_hundred_steps(run):
    eager, replayed = (run(str(how), how, "attention=none", base=LONG).fit() for how in (False, "auto"))
    same(replayed, eager)
    assert len(replayed.watch.losses) == 240


def test_a_resumed_run_is_the_uninterrupted_one(run, tmp_path):
    words = ("optimizer=adam", "callbacks=[default,ema]", "scheduler=multistep", "scheduler.milestones=[1,2]")
    whole = run("whole", "auto", *words).fit()
    first = run("stopped", "auto", *words)
    first.trainer.fit_loop.max_epochs = 2
    first.fit()
    rest = run("stopped", "auto", *words).fit(ckpt_path=tmp_path / "stopped/checkpoints/last.ckpt")
    assert rest.rows == whole.rows and rest.watch.losses == whole.watch.losses[-len(rest.watch.losses) :]
    assert all(torch.equal(value, whole.weights[name]) for name, value in rest.weights.items())


def test_a_checkpoint_knows_nothing_of_tensors_and_goes_on_without_graphs(run, tmp_path):
    run("one", "auto", "optimizer=adam", "trainer.max_epochs=1").fit()
    stored = torch.load(tmp_path / "one/checkpoints/last.ckpt", weights_only=True)
    assert {type(group["lr"]) for group in stored["optimizer_states"][0]["param_groups"]} == {float}
    rest = run("one", False, "optimizer=adam", "trainer.max_epochs=2", kind="cuda")  # no such device: the host's form
    rest.fit(ckpt_path=tmp_path / "one/checkpoints/last.ckpt")
    assert {group["fused"] for group in rest.trainer.optimizers[0].param_groups} == {None}
    assert len(rest.rows) == 2


def test_a_smaller_last_batch_is_done_as_it_is(run):
    def fitted(how):
        one = run(str(how), how)
        one.data.drop_last = False
        return one.fit()

    eager, replayed = fitted(False), fitted("auto")
    same(replayed, eager)
    sizes = [len(labels) for labels in replayed.watch.labels]
    assert len(set(sizes)) == 2 and replayed.recorders[0].calls.count("replay") == sum(n == 16 for n in sizes) - 3


def test_batches_of_any_loader_are_copied(run, monkeypatch):
    draw = torch.Generator().manual_seed(0)
    parts = [
        {"image": torch.randn(n, 1, 8, 8, generator=draw), "label": torch.arange(n) % 10} for n in (16,) * 6 + (9,)
    ]

    def fitted(how):
        one = run(str(how), how)
        monkeypatch.setattr(one.data, "train_dataloader", lambda: DataLoader(parts, batch_size=None))
        return one.fit()

    eager, replayed = fitted(False), fitted("auto")
    same(replayed, eager)
    assert replayed.recorders[0].calls.count("replay") == 3 * 6 - 3


def test_batches_with_more_than_tensors_are_done_as_they_are(run, monkeypatch, capfd):
    parts = [{"image": torch.zeros(16, 1, 8, 8), "label": torch.zeros(16, dtype=torch.int64), "path": ["a"] * 16}] * 4
    one = run("one", "auto", "trainer.max_epochs=1")
    monkeypatch.setattr(one.data, "train_dataloader", lambda: DataLoader(parts, batch_size=None))
    one.fit()
    reason = "batches are not tensors alone, dataset.batch_size rows each"
    assert capfd.readouterr().err.count(f"trainer.graph: training steps are not captured: {reason}\n") == 1
    assert len(one.watch.losses) == 4 and not one.recorders[0].calls


class Waits(torch.nn.Identity):
    def forward(self, x):
        return x * (1 + 0 * float(x.sum().detach()))


class Draws(torch.nn.Identity):
    def forward(self, x):
        return x * (1 + 0.01 * random.random())


class Counts(torch.nn.Identity):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x + 1e-3 * self.calls


REASONS = {
    Waits: "the capture failed: operation not permitted when stream is capturing",
    Draws: "draws random numbers on the host",
    Counts: "model.global_pool.1.calls changes from step to step on the host",
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_a_graph_would_leave_out_is_not_captured(run, capfd, kind):
    def fitted(how):
        random.seed(0)
        one = run(str(how), how, "trainer.max_epochs=2")
        one.task.model.global_pool = torch.nn.Sequential(one.task.model.global_pool, kind())
        return one.fit()

    eager, left = fitted(False), fitted("auto")
    same(left, eager)
    assert f"trainer.graph: training steps are not captured: {REASONS[kind]}\n" in capfd.readouterr().err
    assert "replay" not in left.recorders[0].calls
    with pytest.raises(InputError, match=r"^trainer\.graph=true: .*; allowed: auto, false$"):
        fitted(True)


@pytest.fixture
def full(run):
    """`full(graph)` does a run whose memory runs out in the capture; returns its attempts."""

    class Full(StandIn):
        def capture(self, step):
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:  # as ending a capture that failed does
                raise RuntimeError("operation failed due to a previous error during capture")

    def done(graph):
        made = []

        def build():
            made.append(run("full", graph, "trainer.max_epochs=1", recorder=Full))
            return made[-1].trainer, made[-1].task, made[-1].data

        in_memory(build, lambda *_: made[-1].fit(), "halve")
        return made

    return done


def test_memory_that_runs_out_in_a_capture_halves_the_batches(full, capfd):
    made = full("auto")
    said = capfd.readouterr().err
    assert "out of memory with batches of 16: goes on with batches of 8, 2 to a step" in said
    assert "not captured: trainer.accumulate_grad_batches=2: a graph holds one batch" in said
    assert [one.data.batch_size for one in made] == [16, 8] and made[1].trainer.global_step == len(
        made[1].watch.losses
    ) / 2


def test_memory_that_runs_out_ends_a_run_that_must_be_captured(full, capfd):
    with pytest.raises(FaultError) as error:
        full(True)
    cure = "trainer.graph=true holds one batch; choose a smaller dataset.batch_size, or trainer.graph=auto"
    assert str(error.value) == f"out of memory with batches of 16; {cure}"
    assert "goes on" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("trainer.accumulate_grad_batches=2",), "trainer.accumulate_grad_batches=2: a graph holds one batch"),
        (
            ("optimizer=lion",),
            "optimizer Lion steps on the host; those with a fused form do not: SGD, Adam, AdamW, without "
            "differentiable, maximize, dampening",
        ),
        (("mixing=mixup",), "mixing draws random numbers on the host"),
        (
            (
                "backbone=vit_digits",
                "backbone.image_size=8",
                "backbone.patch_size=2",
                "attention=none",
                "loss=cross_entropy",
                "tokens=evo_vit",
                "tokens.locations=[1]",
                "tokens.schedule=layer_to_stage",
            ),
            "SlowFast trains differently in some epochs, and a graph always does the same",
        ),
        (
            (
                "backbone=lv_vit_s",
                "backbone.image_size=8",
                "backbone.patch_size=2",
                "backbone.depth=1",
                "attention=none",
                "loss=cross_entropy",
                "backbone.mix_token=true",
            ),
            "backbone.mix_token draws random numbers on the host",
        ),
        (("+trainer.detect_anomaly=true",), "trainer.detect_anomaly looks at every value"),
    ],
)
def test_what_is_in_the_way_is_said_in_one_line(run, capfd, words, reason):
    one = run("one", "auto", "trainer.max_epochs=1", *words).fit()
    assert f"trainer.graph: training steps are not captured: {reason}\n" in capfd.readouterr().err
    assert not one.recorders
    with pytest.raises(InputError) as error:
        run("two", True, *words).fit()
    assert str(error.value) == f"trainer.graph=true: {reason}; allowed: auto, false"


def test_hooks_inside_a_step_keep_it_from_being_captured(run, capfd):
    class Looks(pl.Callback):
        seen = 0

        def on_after_backward(self, *_):
            self.seen += 1

    looks = Looks()
    one = run("one", "auto", "trainer.max_epochs=1", callbacks=[looks]).fit()
    assert "not captured: Looks.on_after_backward is called inside a step\n" in capfd.readouterr().err
    assert looks.seen == len(one.watch.losses) > 0


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("trainer.graph=perhaps", "trainer.graph=perhaps must be auto, true or false"),
        ("trainer.graph=null", "trainer.graph=None must be auto, true or false"),
        ("trainer.graph=true", "trainer.graph=true: only a run on one GPU is captured; allowed: auto, false"),
    ],
)
def test_refused_before_anything_is_written(tmp_path, run, word, told):
    with pytest.raises(InputError) as error:
        run("one", "auto", word)
    assert str(error.value) == told
    assert not (tmp_path / "one").exists()
