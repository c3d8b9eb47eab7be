"""Real graphs: the numbers of eager steps, no waiting, and what happens where a capture breaks."""

import pytest
import pytorch_lightning as pl
import torch

from tests.graphs.runs import LONG, Ended
from zoomexp.graphs.capture import CudaRecorder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:::pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),  # said by torch whenever it is set
]
GPU = (*LONG, "trainer.accelerator=gpu", "trainer.deterministic=true")
FORMS = {
    "momentum": (),
    "Adam, a rate that changes": ("optimizer=adam", "scheduler=multistep", "scheduler.milestones=[1,2]"),
    "a loss that follows the epoch": ("attention=loupe", "loss=sparse_gate", "loss.warmup_epochs=2", "optimizer=adamw"),
    "clipped, averaged": ("trainer.gradient_clip_val=0.5", "callbacks=[default,ema]"),
    "half precision": ("trainer.precision=bf16-mixed",),
}


@pytest.fixture(autouse=True)
def only_here_deterministic():
    yield
    torch.use_deterministic_algorithms(False)  # Lightning leaves it on


@pytest.fixture
def fitted(tmp_path):
    """`fitted("auto", ...)` does a run of 240 steps; `change(model)` comes before it."""

    def run(how, *words, change=lambda model: None, callbacks=()):
        options = {"recorder": CudaRecorder, "kind": "cuda", "callbacks": callbacks, "base": GPU}
        words = words if any(word.startswith("attention=") for word in words) else ("attention=none", *words)
        one = Ended(tmp_path / str(how), how, *words, **options)
        change(one.task.model)
        return one.fit()

    return run


def close(replayed, eager, rtol=1e-4):
    assert len(replayed.watch.losses) == len(eager.watch.losses) >= 200
    assert replayed.watch.labels == eager.watch.labels
    torch.testing.assert_close(
        torch.tensor(replayed.watch.losses), torch.tensor(eager.watch.losses), rtol=rtol, atol=1e-6
    )
    assert replayed.metrics == pytest.approx(eager.metrics, rel=rtol)


@pytest.mark.parametrize("form", FORMS)
def test_captured_steps_have_the_losses_of_eager_ones(fitted, capfd, form):
    eager, replayed = (fitted(how, *FORMS[form]) for how in (False, "auto"))
    said = capfd.readouterr().err
    assert "trainer.graph: each training step of a whole batch replays one CUDA graph" in said, said
    close(replayed, eager)


def drops(model):
    model.global_pool = torch.nn.Sequential(model.global_pool, torch.nn.Dropout(0.3))


def test_dropout_draws_what_it_draws_eagerly(fitted, capfd):
    eager, replayed = (fitted(how, change=drops) for how in (False, "auto"))
    assert "replays one CUDA graph" in capfd.readouterr().err
    close(replayed, eager)


def test_a_compiled_step_is_captured(fitted, capfd):
    fitted("auto", "compile=true", "trainer.max_epochs=1")
    assert "replays one CUDA graph" in capfd.readouterr().err


class Waits(torch.nn.Identity):
    def forward(self, x):
        return x * (1 + 0 * float(x.sum().detach()))


class Breaks(torch.nn.Dropout):
    def forward(self, x):
        torch.cuda.synchronize()  # not seen by the watch, forbidden in a capture
        return super().forward(x)


@pytest.mark.parametrize(("kind", "told"), [(Waits, "waits for the device 1 times"), (Breaks, "the capture failed")])
def test_what_cannot_be_captured_goes_on_as_it_is(fitted, capfd, kind, told):
    def change(model):
        model.global_pool = torch.nn.Sequential(model.global_pool, kind())

    eager, left = (fitted(how, change=change) for how in (False, "auto"))
    assert f"trainer.graph: training steps are not captured: {told}" in capfd.readouterr().err
    close(left, eager)


class NeverWaits(pl.Callback):
    """From the fifth step on waiting for the device is an error, but for the last step of an epoch, which logs."""

    steps = 0

    def on_train_batch_start(self, trainer, *_):
        last = trainer.num_training_batches - 1 == trainer.fit_loop.epoch_loop.batch_idx
        self.steps += 1
        torch.cuda.set_sync_debug_mode("default" if self.steps < 5 or last else "error")

    def on_train_batch_end(self, *_):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("how", ["auto", False])
def test_a_step_never_waits_for_the_device(fitted, how):
    never = NeverWaits()
    try:
        fitted(how, "trainer.log_every_n_steps=1000", callbacks=[never])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert never.steps >= 200
