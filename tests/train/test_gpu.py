"""Whole runs on a GPU: every module, every token method, and the ways to compile."""

import json

import pytest
import torch

pytestmark = pytest.mark.gpu

RUN = ("trainer=smoke", "trainer.accelerator=gpu", "trainer.precision=bf16-mixed", "logger=none", "dataset=digits")
VIT = (*RUN[:-1], "dataset=cluttered_digits", "dataset.canvas=48", "backbone=vit_digits", "attention=none")
BLOCKS = "tokens.locations=[1,2]"
METHODS = {
    "a_vit": ["tokens.target_depth=2"], "ats": [BLOCKS], "cf_vit": ["tokens.first_block=1"],
    "diffrate": ["tokens.prune=3", "tokens.merge=3"], "dynamicvit": [BLOCKS], "evit": [BLOCKS],
    "evo_vit": ["tokens.locations=[1]"], "ia_red2": [BLOCKS], "random": [BLOCKS], "spvit": [BLOCKS],
    "tofu": ["tokens.r=4"], "tome": ["tokens.r=4"], "topk": [BLOCKS],
    "zoomvit": ["tokens.scorer.checkpoint=null", "needs={}"],
}  # fmt: skip


def finished(train, tmp_path, *overrides, base):
    ended = train(*overrides, base=base)
    assert ended.code == 0, ended.err
    (path,) = (tmp_path / "out").glob("runs/*/*/seed*/metrics.json")
    facts = json.loads(path.read_text())
    assert facts["cost"]["device"] == torch.cuda.get_device_name() and facts["cost"]["peak_mib"] > 0
    return facts


@pytest.mark.parametrize("attention", ["none", "attzoom", "cbam", "loupe", "multi_head", "self_attention"])
def test_attention(train, tmp_path, attention):
    finished(train, tmp_path, f"attention={attention}", base=RUN)


@pytest.mark.parametrize("method", METHODS)
def test_tokens(train, tmp_path, method):
    facts = finished(train, tmp_path, f"tokens={method}", *METHODS[method], base=VIT)
    assert facts["metrics"]["test/tokens"] > 1


@pytest.mark.filterwarnings("ignore:::torch")  # of torch, at torch
@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")  # of torch, at the one that holds its memory
@pytest.mark.parametrize("graph", ["auto", "false"])
@pytest.mark.parametrize("how", ["true", "reduce-overhead"])
def test_compiled(train, tmp_path, how, graph):
    words = (f"compile={how}", f"trainer.graph={graph}", "trainer.max_steps=5", "trainer.limit_train_batches=5")
    finished(train, tmp_path, "attention=cbam", *words, base=RUN)


def test_the_teachers_maps(train, tmp_path):
    base = ("experiment=zoomvit/digits_zoomer", "logger=none", "trainer.accelerator=gpu")
    ended = train("dataset.train_images=200", "dataset.test_images=100", "trainer.max_epochs=2", base=base)
    assert ended.code == 0, ended.err
