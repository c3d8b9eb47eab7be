"""Runs `train.py` as a user does: in this process (quick), or in one of its own."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from wandb.proto import wandb_internal_pb2

from zoomexp.results.origin import data_now
from zoomexp.results.sources import file_of

ROOT = Path(__file__).parents[2]
SMALL = (
    "dataset=digits", "dataset.train_size=128", "dataset.test_size=60", "trainer.max_epochs=1", "logger=none",
)  # fmt: skip
# Hydra composes a command twice, first to see whether a file says that it is a sweep, as these may.
MODES, GET_MODE = ("experiment", "sweep", "hydra", "--config-dir"), Hydra.get_mode


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HYDRA", "WANDB", "PL_"))}
    return kept | extra  # one thread each, unless the tests are told otherwise


def run_script(name: str, words: tuple[str, ...], monkeypatch, capfd) -> Ended:
    """Run `python scripts/<name>.py ...` in this process."""
    path = str(ROOT / "scripts" / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [path, *words])
    capfd.readouterr()
    try:
        runpy.run_path(path, run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code or 0
    return Ended(code, *capfd.readouterr())


@pytest.fixture
def train(monkeypatch, capfd, tmp_path, request) -> Callable[..., Ended]:
    """`train("attention=none", ...)` runs `python train.py ...` in this process, writing under `tmp_path / "out"`."""

    def run(*overrides: str, base: tuple[str, ...] = SMALL) -> Ended:
        given = [*base, f"output_dir={tmp_path / 'out'}", *overrides]
        argv = [str(ROOT / "train.py"), *sorted(given, key=lambda word: not word.startswith("-"))]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # `run_command` sets it to 1; taken back after the test
        asks = any(word.lstrip("+").startswith(MODES) for word in given)
        monkeypatch.setattr(Hydra, "get_mode", GET_MODE if asks else lambda *_, **__: None)
        GlobalHydra.instance().clear()
        data_now.cache_clear()  # a process of its own would not have it
        if "own_modules" in request.fixturenames:  # no others come and go
            file_of.cache_clear()
        capfd.readouterr()
        try:
            runpy.run_path(argv[0], run_name="__main__")
            code = 0
        except SystemExit as error:
            code = error.code or 0
        finally:
            GlobalHydra.instance().clear()
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def done() -> dict[str, Path]:
    """The folders of what tests of this process have done once for all of them, by name."""
    return {}


@pytest.fixture
def once(done, tmp_path, tmp_path_factory) -> Callable[[str, Callable[[Path], None]], None]:
    """`once(name, do)` copies into `tmp_path` what `do(folder)` leaves there; for each name it is done once.

    The texts of run folders name the copy.
    """

    def copied(name: str, do: Callable[[Path], None]) -> None:
        if name not in done:
            folder = tmp_path_factory.mktemp("once")
            do(folder)
            done[name] = folder
        shutil.copytree(done[name], tmp_path, dirs_exist_ok=True)
        for path in [*tmp_path.glob("**/config.yaml"), *tmp_path.glob("**/metrics.json")]:
            if str(done[name]) in (text := path.read_text()):
                path.write_text(text.replace(str(done[name]), str(tmp_path)))

    return copied


@pytest.fixture
def start(popen) -> Callable[..., subprocess.Popen]:
    """`start("attention=none", ...)` starts `python train.py ...` in a process of its own; ended with the test."""

    def run(*arguments: str, **extra: str) -> subprocess.Popen:
        return popen([sys.executable, str(ROOT / "train.py"), *arguments], env=environment(**extra), cwd=ROOT)

    return run


@pytest.fixture
def folders(tmp_path) -> Callable[[], list[Path]]:
    """The run folders under `tmp_path / "out"`."""
    return lambda: sorted(path.parent for path in tmp_path.glob("out/runs/*/*/*/metrics.json"))


@pytest.fixture
def facts(folders) -> Callable[[], dict[str, Any]]:
    """The `metrics.json` of the only run."""

    def read() -> dict[str, Any]:
        (folder,) = folders()
        return json.loads((folder / "metrics.json").read_text())

    return read


BLOCK, HEADER, FULL, FIRST, MIDDLE, LAST = 32768, 7, 1, 2, 3, 4


class OfflineRun(NamedTuple):
    """What a run's file says."""

    run: Any  # labels, as W&B keeps them
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    axes: dict[str, Any]

    @property
    def logged(self) -> dict[str, Any]:
        """The last value logged under each name."""
        return {name: value for row in self.rows for name, value in row.items()}


def read_offline(path: Path) -> OfflineRun:
    """The run as it is stored."""
    config, rows, summary, axes, run = {}, [], {}, {}, None
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= values(run.config.update)
        elif kind == "config":
            config |= values(record.config.update)
        elif kind == "history":
            rows.append(values(record.history.item))
        elif kind == "summary":
            summary |= values(record.summary.update)
        elif kind == "metric":
            axes[record.metric.name or record.metric.glob_name] = record.metric
    return OfflineRun(run, config, rows, summary, axes)


def values(items) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def records(data: bytes) -> list[bytes]:
    """The payloads, put together where they go over blocks."""
    place, parts, found = HEADER, [], []
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK  # a block's rest that holds no header
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts.append(data[place + HEADER : place + HEADER + length])
        place += HEADER + length
        if kind in (FULL, LAST):
            found.append(b"".join(parts))
            parts = []
    return found


@pytest.fixture
def offline_run() -> Callable[[Path], OfflineRun]:
    """`offline_run(file)` reads an offline W&B run: a LevelDB log of protobuf records."""
    return read_offline
