"""A finished run's network as a file: what other programs compute with it, and what is refused."""

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from tests.train.conftest import Ended, run_script
from zoomexp.insertion import insert
from zoomexp.model import build_model
from zoomexp.run.build import make
from zoomexp.run.stored_run import restored

VIT = ("backbone=vit_digits", "dataset=cluttered_digits", "dataset.train_images=40", "dataset.test_images=12",
       "trainer=smoke", "logger=none")  # fmt: skip


def export(monkeypatch, capfd, *words: str) -> Ended:
    return run_script("export", words, monkeypatch, capfd)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, 1, 48, 48, generator=torch.Generator().manual_seed(3))


def test_tensors_and_program_compute_what_the_network_does(train, folders, monkeypatch, capfd, images):
    assert train(*VIT, "attention=loupe", base=()).code == 0
    (run,) = folders()
    net = restored(run)
    for kind in ("safetensors", "pt2"):
        code, out, err = export(monkeypatch, capfd, f"run={run}", f"format={kind}")
        assert (code, err) == (0, ""), err
        assert out.startswith(str(run / "export" / f"model.{kind}"))
    torch.testing.assert_close(load_file(run / "export" / "model.safetensors"), dict(net.state_dict()), rtol=0, atol=0)
    program = torch.export.load(run / "export" / "model.pt2").module()
    for batch in (images, images[:1], images[:3]):
        torch.testing.assert_close(program(batch), net(batch))
    known = json.loads((run / "export" / "config.json").read_text())
    assert known["classes"] == list("0123456789") and known["seeing"]["mean"] == [0.083]
    card = (run / "export" / "MODEL_CARD.md").read_text()
    with np.load(run / "predictions.npz") as stored:
        assert f"| test/acc1 | {100 * (stored['top1'] == stored['label']).mean():.2f} |" in card
        assert f"95 % interval over the {len(stored['top1'])} test images" in card
    assert "| attention | loupe |" in card and "tested once, at the end." in card
    for kind in ("safetensors", "pt2"):
        assert f"- `model.{kind}`: checked against the network on 8 images" in card
    assert "\nvit_tiny_patch16_224 with loupe after blocks.1, " in card
    torch.testing.assert_close(built_from(run / "export")(images), net(images))
    (run / "export" / "model.pt2").unlink()
    assert export(monkeypatch, capfd, f"run={run}").code == 0
    assert "model.pt2" not in (run / "export" / "MODEL_CARD.md").read_text()


def built_from(folder) -> torch.nn.Module:
    """The network by its files alone."""
    known = json.loads((folder / "config.json").read_text())
    host: Any = make(OmegaConf.create(known["host"]))
    net: Any = partial(build_model, **known["shape"])(host)
    for one in known["modules"]:
        at = one["sites"] if one["at"] is None else one["at"]
        net.insertion_sites += insert(net, make(OmegaConf.create(one["options"])), at, torch.zeros(1, 1, 48, 48))
    net.load_state_dict(load_file(folder / "model.safetensors"))
    return net.eval()


def test_the_card_names_the_host_of_a_network_that_has_gone_on(train, folders, monkeypatch, capfd, images):
    seen = ("dataset.validate_on=test",)
    assert train(*VIT, "attention=cbam", "insertion=last", *seen, base=()).code == 0
    (first,) = folders()
    more = ("backbone=trained", f"backbone.run={first}", "attention=loupe", "insertion=stage1", *VIT[1:])
    assert train(*more, *seen, base=()).code == 0
    (run,) = (folder for folder in folders() if folder != first)
    assert export(monkeypatch, capfd, f"run={run}").code == 0
    card = (run / "export" / "MODEL_CARD.md").read_text()
    assert "\nvit_tiny_patch16_224 with cbam after blocks.3 and loupe after blocks.0, " in card
    assert "the test images also validated each epoch" in card and "tested once" not in card
    torch.testing.assert_close(built_from(run / "export")(images), restored(run)(images))
    assert train(*more, "evaluate=start", "attention=none", base=()).code == 0
    (run,) = (folder for folder in folders() if folder not in (first, run))
    assert export(monkeypatch, capfd, f"run={run}").code == 0
    card = (run / "export" / "MODEL_CARD.md").read_text()
    assert "no epochs; tested without training." in card and "\nvit_tiny_patch16_224 with cbam after blocks.3, " in card


def test_exported_tensors_start_a_network_of_timm(train, folders, monkeypatch, capfd, images):
    assert train(*VIT, "attention=none", base=()).code == 0
    (run,) = folders()
    assert export(monkeypatch, capfd, f"run={run}", "count=3")[0] == 0
    options = {"img_size": 48, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4, "global_pool": "avg"}
    net = timm.create_model("vit_tiny_patch16_224", num_classes=10, in_chans=1, **options)
    net.load_state_dict(load_file(run / "export" / "model.safetensors"))
    torch.testing.assert_close(net.eval()(images), restored(run)(images))


def test_onnx_computes_what_the_network_does(train, folders, monkeypatch, capfd, images):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX: pip install onnx onnxscript onnxruntime")
    pytest.importorskip("onnxscript", reason="ONNX: pip install onnx onnxscript onnxruntime")
    assert train(*VIT, "attention=cbam", "insertion=last", base=()).code == 0
    (run,) = folders()
    code, _, err = export(monkeypatch, capfd, f"run={run}", "format=onnx")
    assert code == 0, err
    session = onnxruntime.InferenceSession(str(run / "export" / "model.onnx"))
    for batch in (images, images[:1]):
        (found,) = session.run(["logits"], {"images": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), restored(run)(batch), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_exported_is_refused_with_the_reason(train, folders, monkeypatch, capfd, tmp_path):
    assert train(*VIT, "attention=none", "tokens=tome", "tokens.r=4", base=()).code == 0
    (run,) = folders()
    code, _, err = export(monkeypatch, capfd, f"run={run}", "format=pt2")
    assert code == 2 and "how many tokens it keeps depends on the image" in err and err.count("\n") == 1
    assert export(monkeypatch, capfd, f"run={run}", f"out={tmp_path}/there")[0] == 0
    for words, message in (
        ((f"run={run}", "format=trt"), "format=trt is unknown; allowed: safetensors, pt2, onnx"),
        ((f"run={run}", "count=1"), "count=1 must be at least 2"),
        (("run=nowhere",), "run=nowhere: no run folder"),
    ):
        code, _, err = export(monkeypatch, capfd, *words)
        assert code == 2 and message in err and err.count("\n") == 1
