"""What pyproject.toml declares is what is used: nothing idle, nothing hidden, and all of it in the lock."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMPORTED_AS = {
    "faster-coco-eval": "faster_coco_eval",
    "grad-cam": "pytorch_grad_cam",
    "hydra-core": "hydra",
    "hydra-joblib-launcher": "hydra_plugins.hydra_joblib_launcher",
    "hydra-submitit-launcher": "submitit",  # the launcher is chosen by name; upstream/ mends what it brings
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "vl-convert-python": "vl_convert",
}
BY_NAME = {  # what is used without an import: where it is named
    "faster-coco-eval": ("zoomexp/metrics/detection.py", "faster_coco_eval"),
    "numba": ("zoomexp/robustness/corruptions.py", "numba"),
    "scikit-image": ("zoomexp/robustness/corruptions.py", "scikit-image"),
    "elpv-dataset": ("zoomexp/datasets/elpv.py", "elpv_dataset"),
    "onnx": ("zoomexp/export/formats.py", '"onnx"'),
    "onnxscript": ("zoomexp/export/formats.py", '"onnxscript"'),
    "hydra-joblib-launcher": ("docs/cluster.md", "hydra/launcher=joblib"),
}
BESIDE = {"imagecorruptions"}  # installed by hand, without what it names: opencv-python, beside the headless one
TOOLS = {"dev", "docs", "notebook", "oracles"}  # extras of programs and tests, not of modules


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement).group()


def declared() -> list[str]:
    extras = PROJECT["optional-dependencies"]
    used = [*PROJECT["dependencies"], *(line for extra in extras.keys() - TOOLS for line in extras[extra])]
    return sorted(map(name_of, used))


def module_of(name: str) -> str:
    return IMPORTED_AS.get(name, name.replace("-", "_"))


def imported() -> set[str]:
    """Top-level modules that the package and its commands import, ours and Python's apart."""
    found = set()
    for path in [ROOT / "train.py", *(ROOT / "scripts").glob("*.py"), *(ROOT / "zoomexp").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"zoomexp"}


@pytest.mark.parametrize("name", declared())
def test_it_is_used(name):
    place, word = BY_NAME.get(name, (None, None))
    assert word in (ROOT / place).read_text() if place else module_of(name) in imported()


def test_nothing_is_used_that_is_not_declared():
    assert imported() - BESIDE - {module_of(name).partition(".")[0] for name in declared()} == set()


def test_the_lock_has_what_is_declared_and_names_no_host():
    lock = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.M))
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    wanted = {name_of(line).lower() for line in [*PROJECT["dependencies"], *extras]}
    assert wanted - locked == set()
    assert "://" not in lock and "--index" not in lock
