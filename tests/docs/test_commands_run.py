"""The commands of README and tutorials, each run at smoke scale as a reader would, one after the other in one folder.

Left out are those that other tests run (ELSEWHERE), and of a sweep all jobs but the first value of every option.
tests/configs/test_commands.py composes all commands of all pages.
"""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from tests.configs.test_commands import ROOT, commands_of, first_values
from tests.docs.test_tutorials import indented_after
from zoomexp.cli.main import run
from zoomexp.datasets.arrays import ImageArrays, Splits, save_cache
from zoomexp.run.overrides import key_of

TEXTS = [ROOT / "README.md", ROOT / "docs/index.md", *sorted((ROOT / "docs/tutorials").glob("*.md"))]
ELSEWHERE = {  # (command, how it goes on): which tests
    ("records", ""): "tests/results/test_published.py",
    ("dashboard", "entity="): "tests/scripts/test_dashboard.py",  # on the extra's objects, without a network
    ("reproduce", "--report"): "tests/results, for it writes into docs/",
    ("visualize", "run=FOLDER"): "tests/scripts/test_visualize.py",  # two runs of which one gets more right
    ("train", "attention=multi_head attention.heads=3"): "tests/train/test_bad_input.py",  # an error, on purpose
}
SMOKE = {
    "train": ["trainer=smoke", "logger=none", "data_dir=data"],
    "reproduce": ["scale=smoke", "seeds=1", "rows=1", "logger=none", "data_dir=data"],
}


def is_elsewhere(command: str, rest: str) -> bool:
    return any(command == name and rest.startswith(start) for name, start in ELSEWHERE)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A reader's folder: the two files of the tutorial, and stand-ins of the data that would be downloaded."""
    folder = tmp_path_factory.mktemp("home")
    tutorial = (ROOT / "docs/tutorials/add_a_module.md").read_text()
    (folder / "mean_gate.py").write_text(indented_after(tutorial, "`zoomexp/attention/mean_gate.py`"))
    options = indented_after(tutorial, "`configs/attention/mean_gate.yaml`").replace("zoomexp.attention.", "")
    (folder / "settings/attention").mkdir(parents=True)
    for name in ("mean_gate", "mine"):
        (folder / f"settings/attention/{name}.yaml").write_text(options)
    (folder / "data").mkdir()
    for name, classes, shape in (
        ("mnist", 10, (28, 28, 1)),
        ("cifar10", 10, (32, 32, 3)),
        ("cifar100", 100, (32, 32, 3)),
    ):
        noise = np.random.default_rng(0).integers(0, 256, (10 * classes, *shape), np.uint8)
        arrays = ImageArrays(noise, np.arange(10 * classes, dtype=np.int64) % classes)
        save_cache(folder / "data" / f"{name}.npz", Splits(arrays, arrays, tuple(map(str, range(classes)))))
    return folder


def at_smoke_scale(command: str, rest: str) -> tuple[str, ...]:
    """The command with what makes it small, and of a sweep with the first value of every option."""
    words = [word.replace("configs/", f"{ROOT}/configs/") for word in shlex.split(rest.partition(" > ")[0])]
    added = SMOKE.get(command, ())
    flags = [word for word in words if "=" not in word]
    typed = [
        word for word in words if "=" in word and not word.startswith(("logger.", *(f"{key_of(a)}=" for a in added)))
    ]
    if {"--list", "--help"} & set(words):
        return (*flags, *typed)
    if command == "train":
        flags += [] if "--config-dir" in flags else ["--config-dir", "settings"]
        sweeps = [word.removeprefix("sweep=") for word in typed if word.startswith("sweep=")]
        typed = [*first_values(typed), *(first for sweep in sweeps for first in first_of(sweep))]
        if not {"backbone=resnet20", "backbone.pretrained=false"} & set(typed) and "backbone=" in rest:
            typed.append("backbone.pretrained=false")
    return (*flags, *typed, *added)


def first_of(sweep: str) -> list[str]:
    """The first value of every option that a file of configs/sweep sweeps."""
    params = yaml.safe_load((ROOT / f"configs/sweep/{sweep}.yaml").read_text())["hydra"]["sweeper"]["params"]
    return [f"{key}={str(values).partition(',')[0]}" for key, values in params.items()]


FOUND = commands_of(TEXTS)
RUNS = {(command, at_smoke_scale(command, rest)) for command, rest in FOUND if not is_elsewhere(command, rest)}
# Training first, the default before all: what is drawn and reported is then there.
RUNS = sorted(RUNS, key=lambda each: (each[0] != "train", len(each[1]), each))


def test_there_are_many_and_the_exceptions_are_some_of_them():
    assert len(RUNS) >= 25
    assert all(any(name == one and rest.startswith(start) for one, rest in FOUND) for name, start in ELSEWHERE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "words"), RUNS, ids=lambda each: each if isinstance(each, str) else " ".join(each)[:60]
)
def test_it_runs(command, words, home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setattr(sys, "argv", [command])
    for name, value in (("PYTHONPATH", str(ROOT)), ("HYDRA_FULL_ERROR", "0"), ("ZOOMEXP_COMMAND", command)):
        monkeypatch.setenv(name, value)
    GlobalHydra.instance().clear()
    try:
        run(command, words)
    except SystemExit as ended:
        assert not ended.code, words
    finally:
        GlobalHydra.instance().clear()
    assert "--help" in words or list(home.glob("outputs/runs/*/*/*/metrics.json"))
