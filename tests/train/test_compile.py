"""`compile=true` is the same run: keys, hooks, maps and numbers stay."""

import copy
import json
import warnings
from functools import partial

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.host import Host
from zoomexp.attention.loupe import Loupe
from zoomexp.callbacks.gate_monitor import GateMonitor
from zoomexp.insertion import attention_maps, insert
from zoomexp.losses.sparse_gate import SparseGate
from zoomexp.optimizer import make_optimizer
from zoomexp.results.identity import config_hash
from zoomexp.run.build import compile_network
from zoomexp.tasks.classification import Classifier

RUN = ("dataset=digits", "dataset.train_size=128", "dataset.test_size=60", "dataset.batch_size=32", "logger=none",
       "backbone=timm", "backbone.name=test_resnet", "attention=loupe", "trainer.max_epochs=2",
       "loss=sparse_gate", "callbacks=[default,ema]")  # fmt: skip


@pytest.fixture
def traced(monkeypatch):
    """`model.compile()` traces, but generates no code; the graphs it traced."""
    graphs, compile = [], nn.Module.compile

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda self, **mode: compile(self, backend=backend))
    yield graphs
    torch._dynamo.reset()


def inserted():
    torch.manual_seed(0)
    net = Host()
    insert(net, Loupe, "stage1", torch.zeros(1, 1, 8, 8))
    return net


def test_the_gates_are_watched_and_nothing_is_traced_anew_for_them(traced, tmp_path):
    def fitted(compiled):
        net, monitor = inserted(), GateMonitor()
        if compiled:
            net.compile()
        task = Classifier(model=net, loss=SparseGate(), scheduler=None, num_classes=3, seed=0,
                          optimizer=partial(make_optimizer, opt="momentum", lr=0.1))  # fmt: skip
        draw = torch.Generator().manual_seed(1)
        parts = [{"image": torch.randn(4, 1, 8, 8, generator=draw), "label": torch.arange(4) % 3} for _ in range(3)]
        trainer = pl.Trainer(max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False,
                             callbacks=[monitor], enable_progress_bar=False, enable_model_summary=False,
                             num_sanity_val_steps=0, default_root_dir=tmp_path)  # fmt: skip
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            trainer.fit(task, *[DataLoader(parts, batch_size=None)] * 2)
        return {name: value.item() for name, value in trainer.callback_metrics.items()}

    eager = fitted(False)
    assert not traced
    assert fitted(True) == pytest.approx(eager, rel=1e-5)
    assert len(traced) == 2  # to train and to evaluate
    assert {"gate/conv/change", "gate/conv/saturated"} <= eager.keys()


@pytest.mark.slow
def test_a_compiled_run_is_the_eager_one(train, tmp_path, traced):
    eager, compiled = (train(f"compile={on}", f"output_dir={tmp_path / on}", base=RUN) for on in ("false", "true"))
    assert (eager.code, compiled.code) == (0, 0), compiled.err
    assert traced
    (whole,) = (tmp_path / "false").glob("runs/*/*/seed*")
    other = tmp_path / "true" / whole.relative_to(tmp_path / "false")  # the same name: no other science
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (whole, other)]
    assert metrics[0]["metrics"] == pytest.approx(metrics[1]["metrics"], rel=1e-4)
    assert metrics[0]["cost"]["macs"] == metrics[1]["cost"]["macs"] > 0
    histories = [
        pd.read_csv(folder / "history.csv").drop(columns=["epoch_s", "img_per_s"]) for folder in (whole, other)
    ]
    assert sum(name.startswith("gate/") for name in histories[0]) >= 3
    pd.testing.assert_frame_equal(*histories, rtol=1e-4)
    last, same = (torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (whole, other))
    assert last["state_dict"].keys() == same["state_dict"].keys()
    assert len(traced) <= 8  # training, evaluation, and batches of other sizes: not anew in every epoch


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, at torch
def test_compiled_to_machine_code():
    net = inserted()
    eager, x = copy.deepcopy(net), torch.randn(6, 1, 8, 8)
    net.compile()
    assert net.state_dict().keys() == eager.state_dict().keys()
    for one in (net, eager):
        (one(x).square().sum() + sum(value.sum() for value in attention_maps(one).values())).backward()
    assert attention_maps(net).keys() == {"conv"}
    torch.testing.assert_close(attention_maps(net), attention_maps(eager))
    for parameter, expected in zip(net.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-5)


def test_the_same_run_by_its_hash():
    config = {"seed": 0, "trainer": {"max_epochs": 3}}
    quick = {**config, "compile": True, "trainer": {"max_epochs": 3, "profiler": "simple"}}
    assert config_hash(quick) == config_hash(config)


@pytest.mark.parametrize("how", ["perhaps", "1", "null", "[true]"])
def test_anything_else_is_refused(train, how):
    ended = train(f"compile={how}")
    told = {"null": "None", "[true]": "[True]"}.get(how, how if how == "1" else repr(how))
    message = f"error: compile={told} must be false, true, reduce-overhead or max-autotune\n"
    assert (ended.code, ended.err) == (2, message)


def test_what_torch_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: asked.append(options))
    for how in (False, True, "reduce-overhead", "max-autotune"):
        compile_network(nn.Identity(), how)
    assert asked == [{"mode": "default"}, {"mode": "reduce-overhead"}, {"mode": "max-autotune"}]
    assert {options["mode"] for options in asked} - {"default"} <= set(torch._inductor.list_mode_options())
