"""The repair of `import torchvision`: nothing at all where the builds match, the operators' names where they do not."""

import os
import subprocess
import sys

import pytest
import torch
import torchvision  # noqa: F401  its import runs the repair, if that is needed here

from zoomexp.upstream import torchvision_repair


@pytest.fixture
def declared(monkeypatch) -> list[str]:
    """What is declared in torch's library of operators; nothing really is."""
    made = []

    class Library:
        def __init__(self, namespace, kind):
            made.append(f"{kind} {namespace}")

        def define(self, schema):
            made.append(schema)

    monkeypatch.setattr(torch.library, "Library", Library)
    monkeypatch.setattr(torchvision_repair, "_declared", [])
    return made


def built_for(monkeypatch, cuda=None, hip=None):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip, raising=False)


@pytest.mark.parametrize("build", [{"cuda": "12.8"}, {"hip": "6.4"}])
def test_nothing_is_done_where_torch_has_a_gpu_build(monkeypatch, declared, build):
    built_for(monkeypatch, **build)
    monkeypatch.setattr(torch.ops, "load_library", lambda path: pytest.fail("looked at the library"))
    assert torchvision_repair.repair() is False
    assert declared == []


def test_nothing_is_done_where_the_library_loads(monkeypatch, declared):
    built_for(monkeypatch)
    loaded = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    assert torchvision_repair.repair() is False
    assert declared == []
    assert all("torchvision" in path for path in loaded)


def test_nothing_is_done_where_there_is_no_torchvision(monkeypatch, declared):
    built_for(monkeypatch)
    monkeypatch.setattr(torchvision_repair.importlib.util, "find_spec", lambda name: None)
    assert torchvision_repair.repair() is False
    assert declared == []


def test_the_operators_are_declared_where_the_library_cannot_be_loaded(monkeypatch, declared, tmp_path):
    built_for(monkeypatch)
    (tmp_path / "_C.so").write_bytes(b"")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(torchvision_repair.importlib.util, "find_spec", lambda name: spec)

    def refuse(path):
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(torch.ops, "load_library", refuse)
    assert torchvision_repair.repair() is True
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    assert declared == ["FRAGMENT torchvision", "nms" + signature, "qnms" + signature]
    assert len(torchvision_repair._declared) == 1


def python(code: str) -> str:
    """What `code` prints in a fresh interpreter that turns warnings into errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy_and_twice_is_once():
    code = """
import sys
import zoomexp
from zoomexp.upstream.torchvision_repair import install
install()
heavy = {"torch", "torchvision", "timm", "numpy", "pytorch_lightning"} & set(sys.modules)
print(sorted(heavy), [type(finder).__name__ for finder in sys.meta_path].count("_BeforeTorchvision"))
"""
    assert python(code) == "[] 1"


def test_torchvision_and_timm_work_after_it():
    code = """
import sys
import zoomexp
import torchvision.transforms.v2 as v2, timm, torch
from zoomexp.upstream.torchvision_repair import install
install()
image = torch.arange(12.0).view(1, 3, 4)
print(v2.functional.hflip(image).tolist() == image.flip(2).tolist(),
      timm.create_model("resnet10t", num_classes=2).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2),
      [type(finder).__name__ for finder in sys.meta_path].count("_BeforeTorchvision"))
"""
    assert python(code) == "True True 0"


def test_a_declared_operator_still_fails_loudly():
    code = """
import torch
from zoomexp.upstream import torchvision_repair
first, second = torchvision_repair.repair(), torchvision_repair.repair()
try:
    torch.ops.torchvision.qnms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except NotImplementedError as error:
    print(first, second, "torchvision::qnms" in str(error))
except (AttributeError, RuntimeError):
    print(first, second, "not declared")
"""
    needed = bool(torchvision_repair._declared)  # by the import of torchvision in this very session
    assert python(code) == ("True True True" if needed else "False False not declared")
