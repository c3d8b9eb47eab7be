"""What others see of replayed steps, between them and inside, and epochs that train other parameters than the last."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from tests.graphs.runs import Ended, same
from zoomexp.callbacks.gate_monitor import GateMonitor
from zoomexp.graphs.capture import end_allocation

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")
PLAIN = ("attention=none", "loss=cross_entropy")


@pytest.fixture
def both(tmp_path):
    """`both(...)` does a run with eager steps and with replayed ones; `change(run)` comes before either."""

    def fitted(how, words, change):
        one = Ended(tmp_path / str(how), how, *words)
        change(one)
        return one.fit()

    return lambda *words, change=lambda run: None: tuple(fitted(how, words, change) for how in (False, "auto"))


def keeps_last(run):
    run.data.drop_last = False


@pytest.fixture
def judged(monkeypatch):
    """What each run's monitor has judged: the steps, and the modules' states."""
    runs = {}

    def judge(self, trainer, task, states):
        means = usual(self, trainer, task, states)
        runs.setdefault(self, []).append((trainer.global_step, means))
        return means

    usual = GateMonitor._judge
    monkeypatch.setattr(GateMonitor, "_judge", judge)
    return runs


@pytest.mark.parametrize("change", [lambda run: None, keeps_last], ids=["whole batches", "a smaller last one"])
def test_the_monitor_reads_the_maps_of_the_step_before(both, judged, change):
    eager, replayed = both("callbacks.gates.every=1", change=change)
    one, other = judged.values()
    assert one == other and len(one) == len(eager.watch.losses) + 3
    assert "replay" in replayed.recorders[0].calls


def test_the_monitor_looks_into_a_step_after_a_suspicious_one(both, judged):
    shut = ("attention.bias=-8", "callbacks.effects=null", "callbacks.gates.every=2", "trainer.max_epochs=4",
            "optimizer.lr=1e-4")  # fmt: skip
    eager, replayed = both(*shut)
    same(replayed, eager)
    one, other = judged.values()
    assert one == other
    steps = [step for step, means in other if "passed" in means["layer2"]]
    assert len(steps) > len(set(range(5, 21, 5)))  # more than the validations
    calls = replayed.recorders[0].calls
    assert "run" in calls[calls.index("capture") :]


def test_gradients_are_there_after_a_validation_and_a_smaller_batch(both, tmp_path):
    words = ("callbacks=[default,dynamics]", "callbacks.dynamics.every=1", "callbacks.dynamics.epochs=3")
    same(*reversed(both(*words, change=keeps_last)))
    one, other = (pd.read_csv(tmp_path / how / "dynamics.csv") for how in ("False", "auto"))
    assert one["gradient"][1:].notna().all()
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("words", [("train=head", "train.all_from=1"), ("train=head", "train.unfreeze_every=1")])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_thaws_is_trained_by_a_graph_of_its_own(both, words, optimizer, capfd):
    eager, replayed = both(*PLAIN, *words, f"optimizer={optimizer}")
    same(replayed, eager)
    calls = replayed.recorders[0].calls
    assert calls[:5] == calls[6:11] == ["run", "run", "watch", "capture", "replay"]
    assert capfd.readouterr().err.count("replays one CUDA graph") == 1


@pytest.mark.parametrize("name", ["_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"])
def test_either_name_of_the_end_of_an_allocation(name):
    assert end_allocation(SimpleNamespace(**{name: torch.add})) is torch.add
