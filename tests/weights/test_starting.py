"""Where weights may come from, what is said of them, and what is refused; in one line each."""

import argparse
import json
import pickle

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from zoomexp.backbones.from_timm import from_timm
from zoomexp.backbones.lv_vit import lv_vit
from zoomexp.backbones.resnet20 import resnet20
from zoomexp.errors import InputError

SHAPE = {"num_classes": 4, "in_chans": 3}


@pytest.fixture(scope="module")
def net() -> timm.models.ResNet:
    torch.manual_seed(1)
    return timm.create_model("test_resnet", num_classes=4)


def loaded(source, name: str = "test_resnet", **options):
    return from_timm(name, weights=str(source), **(SHAPE | options))


def assert_equal(found, net) -> None:
    for name, value in net.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(
    ("wrapped", "told"),
    [
        (lambda own: own, ": 92 of 92 tensors loaded\n"),
        (lambda own: {"model": own, "args": argparse.Namespace(lr=1.0), "epoch": 7}, " (model): 92 of 92"),
        (lambda own: {"state_dict": {"model." + k: v for k, v in own.items()}}, " (state_dict): 92 of 92"),
        (lambda own: {"module._orig_mod.backbone." + k: v for k, v in own.items()}, ": 92 of 92"),
        (
            lambda own: {"state_dict_ema": own, "state_dict": {k: torch.zeros_like(v) for k, v in own.items()}},
            " (state_dict_ema): 92 of 92",
        ),
        (
            lambda own: {"backbone." + k: v for k, v in own.items()} | {"decode_head.weight": torch.ones(2)},
            ": 92 of 92 tensors loaded\n",
        ),
        (lambda own: own | {"teacher_temperature": torch.ones(1)}, "; left out teacher_temperature\n"),
    ],
)
def test_wrapped_in_the_ways_of_others(net, tmp_path, capfd, wrapped, told):
    torch.save(wrapped(net.state_dict()), tmp_path / "net.pth")
    assert_equal(loaded(tmp_path / "net.pth"), net)
    err = capfd.readouterr().err
    assert err.startswith("weights: net.pth") and told in err and err.count("\n") == 1


def test_safetensors_a_folder_and_the_file_that_a_folder_prefers(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    assert_equal(loaded(tmp_path / "net.safetensors"), net)
    assert_equal(loaded(tmp_path), net)
    torch.save(timm.create_model("test_resnet", num_classes=4).state_dict(), tmp_path / "old.pth")
    with pytest.raises(InputError, match=r"has net\.safetensors, old\.pth; name one of them"):
        loaded(tmp_path)
    (tmp_path / "net.safetensors").rename(tmp_path / "model.safetensors")
    assert_equal(loaded(tmp_path), net)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The Hugging Face hub out of reach, with what this machine keeps of `me/net`."""
    folder = tmp_path / "models--me--net"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_a_model_of_the_hub_and_one_that_cannot_be_had(net, hub):
    save_file(net.state_dict(), hub / "model.safetensors")
    (hub / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    assert_equal(loaded("hf-hub:me/net"), net)
    with pytest.raises(
        InputError, match=r"^backbone\.weights=hf-hub:me/other: cannot be had from the Hugging Face hub"
    ):
        loaded("hf-hub:me/other")


def test_backbones_that_are_not_timms(tmp_path, capfd):
    small = resnet20(num_classes=4, in_chans=3)
    torch.save(small.state_dict(), tmp_path / "small.pth")
    assert_equal(resnet20(weights=str(tmp_path / "small.pth"), **SHAPE), small)
    grey = resnet20(weights=str(tmp_path / "small.pth"), num_classes=9, in_chans=1)
    torch.testing.assert_close(grey.conv1.weight, small.conv1.weight.sum(1, keepdim=True))
    told = capfd.readouterr().err.splitlines()[-1]
    assert "input channels 3 -> 1 in conv1.weight; new fc.weight, fc.bias (the file has 4 classes)" in told
    options = {"image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    tokens = lv_vit(**SHAPE, **options)
    torch.save(tokens.state_dict(), tmp_path / "lv.pt")
    assert_equal(lv_vit(weights=str(tmp_path / "lv.pt"), **SHAPE, **options), tokens)


class Runs:
    """Unpickled, it calls what it likes."""

    def __reduce__(self):
        return print, ("code has run",)


@pytest.mark.parametrize("save", [torch.save, lambda found, file: file.write_bytes(pickle.dumps(found))])
def test_code_in_a_pickle_is_named_and_not_run(tmp_path, capfd, save):
    save({"state_dict": {"fc.weight": torch.ones(1)}, "extra": Runs()}, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"^backbone\.weights=") as error:
        loaded(tmp_path / "net.pth")
    assert "\n" not in str(error.value) and "code has run" not in capfd.readouterr().out
    if save is torch.save:
        assert "is a pickle that would run code (builtins.print)" in str(error.value)


@pytest.mark.parametrize(
    ("content", "file", "message"),
    [
        (
            None,
            "net.pth",
            r"net\.pth: no such file or folder; name a file \(\.safetensors, \.pth, .*hf-hub:owner/model",
        ),
        (b"", "net.pth", r"net\.pth: cannot be read as weights \(EOFError\)"),
        (b"nonsense", "net.safetensors", r"net\.safetensors: cannot be read as weights \(SafetensorError\)"),
        (b"", "net.onnx", r"net\.onnx: \.onnx is unknown; name a file"),
        ({"epoch": 3}, "net.pth", r"net\.pth: holds no tensors by name"),
        (
            {"a.weight": torch.ones(2)},
            "net.pth",
            r"of another network than test_resnet: no tensor of it is among a\.weig",
        ),
    ],
)
def test_refusals(tmp_path, content, file, message):
    if isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / file)
    with pytest.raises(InputError, match=message) as error:
        loaded(tmp_path / file)
    assert "\n" not in str(error.value)


def test_another_architecture_is_told_by_what_differs(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "net.pth")
    (file,) = tmp_path.glob("net.pth")
    with pytest.raises(InputError, match=r"does not fit resnet18: of its 122 tensors and the file's \d+ differ: "):
        loaded(file, "resnet18")
    with pytest.raises(InputError, match=r"conv1\.0\.weight is \S+, wanted \S+"):
        loaded(file, stem_width=8)
    scaled = timm.create_model("test_vit", num_classes=4, init_values=1e-5)
    torch.save(scaled.state_dict(), tmp_path / "scaled.pth")
    with pytest.raises(InputError, match=r"does not fit test_vit: .*: blocks\.0\.ls1\.gamma has no place in it"):
        loaded(tmp_path / "scaled.pth", "test_vit", image_size=160)
    with pytest.raises(InputError, match=r"no weights in this folder"):
        (tmp_path / "empty").mkdir()
        loaded(tmp_path / "empty")
