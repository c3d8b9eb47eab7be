"""What says that a workaround in `zoomexp/upstream` is still needed: a failure here means that it can go."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler
from torch.utils.data import DataLoader

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")


class Task(pl.LightningModule):
    """The smallest task."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(tmp_path, callback: pl.Callback) -> None:
    trainer = pl.Trainer(default_root_dir=tmp_path, max_epochs=1, accelerator="cpu", logger=False, callbacks=[callback],
                         enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(Task(), DataLoader(torch.ones(2, 1), batch_size=None))


def test_the_profiler_still_makes_a_generator_for_nothing():
    assert type(PassThroughProfiler().profile("step")).__name__ == "_GeneratorContextManager"


def test_lightning_still_calls_hooks_that_do_nothing(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(pl.Callback, "on_before_zero_grad", lambda *args: calls.append(args))
    fit(tmp_path, pl.Callback())
    assert len(calls) == 2


def test_lightning_passes_over_a_hook_that_is_none(tmp_path):
    silent = pl.Callback()
    silent.on_before_zero_grad = silent.on_train_batch_end = None
    fit(tmp_path, silent)
