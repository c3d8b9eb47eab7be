"""Runs whose network trains differently in their first epochs: what its blocks saw, also after an interruption."""

import pytest
import pytorch_lightning as pl
import torch

from tests.graphs.runs import DIGITS, Ended

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")
BASE = (*DIGITS, "dataset.train_size=64", "dataset.batch_size=32", "attention=none", "loss=cross_entropy",
        "backbone=vit_digits", "backbone.image_size=8", "backbone.patch_size=2", "backbone.embed_dim=16",
        "backbone.num_heads=2", "trainer.max_epochs=3")  # fmt: skip
# 16 patches, 4 of them cells, and a class token; by block in the first two epochs, then in the last one and in tests
RUNS = {
    "evo_vit": (["tokens.locations=[1,3]", "tokens.schedule=layer_to_stage", "tokens.keep_rate=0.25"],
                [17, 5, 5, 5], [17, 5, 5, 5], "layer_wise"),
    "cf_vit": (["tokens.first_block=1", "tokens.warmup=2/3"], [22] * 4, [16] * 4, "all_fine"),
}  # fmt: skip


class Seen(pl.Callback):
    """The epoch of each training step, how many tokens its blocks saw of the first image, and the phase."""

    def __init__(self, phase):
        self.phase, self.steps, self.validated = phase, [], []

    def on_train_batch_end(self, trainer, module, *_):
        net = module.model
        phase = getattr(getattr(net, "method", net), self.phase)
        self.steps.append((trainer.current_epoch, [int(n[0]) for n in net.tokens_per_block], phase))

    def on_validation_batch_end(self, trainer, module, *_):
        self.validated.append([int(n[0]) for n in module.model.tokens_per_block])


class Ends(pl.Callback):
    """When the third epoch begins."""

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2:
            raise OSError("the machine went away")


@pytest.mark.parametrize("name", RUNS)
def test_the_phases_of_a_run_and_of_one_that_goes_on(tmp_path, name):
    words, first, last, phase = RUNS[name]

    def begun(folder):
        seen = Seen(phase)
        return Ended(tmp_path / folder, False, *words, f"tokens={name}", base=BASE, callbacks=[seen]), seen

    whole, seen = begun("whole")
    whole.fit()
    steps = [(epoch, first if epoch < 2 else last, epoch < 2) for epoch in (0, 1, 2)]
    assert seen.steps == [step for step in steps for _ in range(len(seen.steps) // 3)] and len(seen.steps) >= 6
    assert set(map(tuple, seen.validated)) == {tuple(last)}
    stopped, _ = begun("stopped")
    stopped.trainer.callbacks.append(Ends())
    with pytest.raises(OSError, match="went away"):
        stopped.fit()
    rest, seen = begun("stopped")
    rest.fit(ckpt_path=tmp_path / "stopped/checkpoints/last.ckpt")
    assert set(map(str, seen.steps)) == {str(steps[2])}
    assert [rest.rows[-1][key] for key in ("train/loss", "val/loss")] == [
        whole.rows[-1][key] for key in ("train/loss", "val/loss")
    ]
    assert all(torch.equal(value, whole.weights[key]) for key, value in rest.weights.items())
